"""Steps and losses of CALC and UACL give the releases' numbers."""

import re
from pathlib import Path

import pytest
import torch
from parity_release import Numbers, deviation, find_files, load_releases, too_far

from bandweave.models.calc import CALC, CALCConfig, weigh_heads, weigh_votes
from bandweave.models.uacl import UACL, UACLConfig, add_cross_entropies
from bandweave.nn.losses.pseudo_labels import (
    contrast_reliable,
    contrast_unreliable,
    find_reliable,
    weigh_ranks,
)
from bandweave.training.config import TrainConfig
from bandweave.training.optimizer import make_optimizer

RELEASES = {
    each.name: each for each in load_releases(Path(__file__).parent / "releases/coupled.py")
}


def files(pattern):
    found = [pytest.param(path, id=path.stem) for path in find_files(pattern)]
    absent = pytest.param(None, marks=pytest.mark.skip("BANDWEAVE_DATA has no parity/"))
    return pytest.mark.parametrize("path", found or [absent])


precision = pytest.mark.parametrize(
    ("dtype", "near", "near_gradients"),
    [(torch.float64, 1e-9, 1e-8), (torch.float32, 1e-5, 1e-3)],
    ids=["64", "32"],
)


def weights_of_note(numbers):
    """Weights, and their names here, of the files that a step begins with."""
    theirs, translations = {}, []
    for name in re.findall(r"[a-z-]+-\d+", numbers.note.rpartition("weights:")[2]):
        given = Numbers(find_files(name)[0], numbers.dtype)
        theirs |= given.weights
        translations.append((RELEASES[name.rpartition("-")[0]], given))

    def translate(weights):
        ours = {}
        for release, given in translations:
            ours |= release.translate(weights, given)
        return ours

    return theirs, translate


def take_step(model, theirs, translate, layers, labels, lr):
    """Loss parts, gradients under the release's names, and the module after a step of Adam."""
    leaves = {n: v.requires_grad_() if v.is_floating_point() else v for n, v in theirs.items()}
    leaves |= {n: v.detach() for n, v in leaves.items() if "running_" in n}
    ours = translate(leaves)
    buffers = dict(model.named_buffers())
    moving = {
        name: value.detach().clone() if name in buffers else value for name, value in ours.items()
    }
    output = torch.func.functional_call(model, moving, (layers, labels), strict=True)
    output.loss.backward()
    model.load_state_dict({name: value.detach() for name, value in ours.items()})
    optimizer = make_optimizer(model, TrainConfig(lr=lr, weight_decay=0.0))
    model(layers, labels).loss.backward()
    optimizer.step()
    return output, {name: leaf.grad for name, leaf in leaves.items() if leaf.is_leaf}


def not_after(model, numbers, theirs, translate, prefix, limit):
    """What of the module differs from what the file has under a prefix, where that changed."""
    theirs = {name: value.detach() for name, value in theirs.items()}
    before, expected = translate(theirs), translate({**theirs, **numbers.under(prefix)})
    state, wrong = model.state_dict(), {}
    for name, value in expected.items():
        changed = value != before[name]
        if changed.any() and not deviation(state[name][changed], value[changed]) <= limit:
            wrong[name] = state[name]
    return wrong


@files("calc-step-[0-9]*")
@precision
def test_parity_of_a_step_of_calc(path, dtype, near, near_gradients):
    numbers = Numbers(path, dtype)
    theirs, translate = weights_of_note(numbers)
    given, stored = numbers.inputs, numbers.under("out.")
    layers = {name: given[name] for name in ("hsi", "second")}
    width, _, *_ = theirs["encoder.conv1_1.0.weight"].shape
    classes = len(theirs["classifier.conv3.0.weight"])
    model = CALC(
        {name: layer.shape[1] for name, layer in layers.items()},
        [str(index) for index in range(classes)],
        CALCConfig(layers["hsi"].shape[-1], width, as_published=True),
    ).to(dtype)
    scores, heads = [], []
    for judge in model.discriminators:
        judge.register_forward_hook(lambda *call: scores.append(call[2].mean()))
    for head in model.heads:
        head.register_forward_hook(lambda *call: heads.append(call[2].softmax(1)))
    labels = given["label"].view(-1, 1, 1)
    output, gradients = take_step(model, theirs, translate, layers, labels, 1e-3)
    parts = output.parts
    supervised = parts["supervised"] + parts["agreement"]
    found = {
        "mean_score_fake_hsi": scores[0],
        "mean_score_real_hsi": scores[1],
        "mean_score_fake_second": scores[2],
        "mean_score_real_second": scores[3],
        "loss_d_hsi": 1 - scores[1] + scores[0],
        "loss_d_second": 1 - scores[3] + scores[2],
        "loss_cls": supervised,
        "loss_adv": parts["adversarial"],
        "loss_g": supervised + 0.01 * parts["adversarial"],
    }
    found = {name: value.detach().view(1) for name, value in found.items()}
    assert set(found) == set(stored)
    assert not too_far(found, stored, near)
    torch.testing.assert_close(
        parts["discriminators"], (stored["loss_d_hsi"] + stored["loss_d_second"])[0]
    )
    middle = {f"p{level + 1}": each for level, each in enumerate(heads[:3])}
    assert not too_far(middle, numbers.under("mid."), near)
    cancelled = {name for name in gradients if re.search(r"conv[2-6]\.0\.bias$", name)}
    wanted = {n: v for n, v in numbers.under("grad.").items() if n not in cancelled}
    assert set(wanted) <= set(gradients)
    assert not too_far(gradients, wanted, near_gradients)
    assert not not_after(model, numbers, theirs, translate, "after.", near_gradients)
    assert not not_after(model, numbers, theirs, translate, "buf.", near)


@files("calc-headweights-[0-9]*")
def test_parity_of_head_weights(path):
    numbers = Numbers(path)
    given, stored = numbers.inputs, numbers.under("out.")
    classes = given["p1"].shape[1]
    hits = [given["label"][given[f"pred{k}"] == given["label"]] for k in (1, 2, 3)]
    right = torch.stack([hit.bincount(minlength=classes) for hit in hits])
    found = weigh_heads(right, as_published=True)
    combined = weigh_votes(found, [given[f"p{k}"] for k in (1, 2, 3)])
    assert not too_far({f"w{k + 1}": w.double() for k, w in enumerate(found)}, stored, 1e-6)
    assert not too_far({"combined": combined}, stored, 1e-6)
    assert torch.equal(combined.argmax(1), stored["pred"])


def cases(numbers):
    return sorted({name.split(".")[0] for name in numbers.inputs})


@files("uacl-loss-reliable-[0-9]*")
def test_parity_of_the_loss_of_reliable_pixels(path):
    numbers = Numbers(path)
    for case in cases(numbers):
        features = numbers.inputs[f"{case}.features"].requires_grad_()
        loss = contrast_reliable(features.flatten(1), numbers.inputs[f"{case}.label"], 2.0)
        loss.backward()
        assert deviation(loss.view(1), numbers.under("out.")[f"{case}.loss"]) < 1e-9
        expected = numbers.under("grad.in.")[f"{case}.features"]
        assert deviation(features.grad, expected) < 1e-8


@files("uacl-loss-unreliable-[0-9]*")
def test_parity_of_the_loss_of_other_pixels(path):
    numbers = Numbers(path)
    for case in cases(numbers):
        features = numbers.inputs[f"{case}.features"].requires_grad_()
        p = numbers.inputs[f"{case}.p3"]
        loss = contrast_unreliable(features.flatten(1), p, 2.0, as_published=True)
        loss.backward()
        weights = weigh_ranks(p)
        middle = {
            "weight": weights[:, p.argmax(1)],
            "n_above": (weights > 0).sum(1),
            "ranking": weights.argsort(1, descending=True),
        }
        assert not too_far(middle, numbers.under(f"mid.{case}."), 1e-6)
        assert deviation(loss.view(1), numbers.under("out.")[f"{case}.loss"]) < 1e-6
        expected = numbers.under("grad.in.")[f"{case}.features"]
        assert deviation(features.grad, expected) < 1e-6


@files("uacl-objective-[0-9]*")
def test_parity_of_the_objective_of_uacl(path):
    numbers = Numbers(path)
    for case in cases(numbers):
        given = numbers.under(f"in.{case}.")
        for value in given.values():
            value.requires_grad_(value.is_floating_point())
        classes = [str(index) for index in range(given["pool.p1"].shape[1])]
        with torch.device("meta"):
            model = UACL({"hsi": 1}, classes, UACLConfig(width=2, as_published=True))
        scores = [given[f"labelled.p{k}"][..., None, None] for k in (1, 2, 3)]
        supervised = add_cross_entropies(scores, given["labelled.label"].view(-1, 1, 1))
        pool = [given[f"pool.p{k}"] for k in (1, 2, 3)]
        reliable, unreliable, _ = model.contrast(pool, given["pool.mapped"].flatten(1))
        loss = supervised + model.config.contrast * (reliable + unreliable)
        loss.backward()
        believed = find_reliable(pool, 0.0, as_published=True)
        found = {
            "loss_cls": supervised.view(1),
            "loss_reliable": reliable.view(1),
            "loss_unreliable": unreliable.view(1),
            "loss": loss.view(1),
        }
        assert not too_far(found, numbers.under(f"out.{case}."), 1e-6)
        indices = {
            "index_reliable": believed.nonzero()[:, 0],
            "index_unreliable": (~believed).nonzero()[:, 0],
            "n_above": (weigh_ranks(pool[-1])[~believed] > 0).sum(1),
        }
        stored = numbers.under(f"out.{case}.")
        assert all(torch.equal(value, stored[name]) for name, value in indices.items())
        expected = numbers.under(f"grad.in.{case}.")
        gradients = {n: given[n].grad for n in expected}
        assert not too_far(gradients, expected, 1e-6)


@files("uacl-step-[0-9]*")
@precision
def test_parity_of_a_step_of_uacl(path, dtype, near, near_gradients):
    numbers = Numbers(path, dtype)
    theirs, translate = weights_of_note(numbers)
    given, stored = numbers.inputs, numbers.under("out.")
    first, pool = len(given["labelled.label"]), len(given["pool.hsi"])
    layers = {
        name: torch.cat([given[f"labelled.{name}"], given[f"pool.{name}"]])
        for name in ("hsi", "second")
    }
    labels = torch.cat([given["labelled.label"], given["labelled.label"].new_full((pool,), -1)])
    model = UACL(
        {name: layer.shape[1] for name, layer in layers.items()},
        [str(index) for index in range(len(theirs["classifier.conv3_3.0.weight"]))],
        UACLConfig(
            layers["hsi"].shape[-1], len(theirs["encoder.spa1.0.weight"]), as_published=True
        ),
    ).to(dtype)
    model.begin_step(0.99)
    mapped, heads = [], []
    model.mapper.register_forward_hook(lambda *call: mapped.append(call[2][..., None, None]))
    for head in model.heads:
        head.register_forward_hook(lambda *call: heads.append(call[2].softmax(1)))
    output, gradients = take_step(model, theirs, translate, layers, labels.view(-1, 1, 1), 5e-4)
    parts = output.parts
    found = {
        "loss_cls": parts["supervised"].view(1),
        "loss_reliable": parts["reliable"].view(1),
        "loss_unreliable": parts["unreliable"].view(1),
        "loss": output.loss.view(1),
    }
    rounded = max(near, 1e-6)  # the release's weights of pairs are float32
    assert not too_far(found, stored, rounded)
    assert parts["believed"] == len(stored["index_reliable"]) / pool
    middle = {
        "labelled.p3": heads[2],
        "pool.p1": heads[3],
        "pool.p2": heads[4],
        "pool.p3": heads[5],
        "pool.mapped": mapped[1],
    }
    assert len(heads[2]) == first
    assert not too_far(middle, numbers.under("mid."), near)
    wanted = numbers.under("grad.")
    assert set(wanted) <= set(gradients)
    assert not too_far(gradients, wanted, max(near_gradients, 1e-5))
    assert not not_after(model, numbers, theirs, translate, "after.", max(near_gradients, 1e-5))
    assert not not_after(model, numbers, theirs, translate, "buf.", near)
