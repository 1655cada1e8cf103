"""What is CF-IPT's own: its parameters' count, its ablations, its text, its patches."""

import logging
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

import bandweave as bw
from bandweave.errors import ConfigError, GridMismatch
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.predict.classify import predict_classes
from bandweave.landcover.run import Run
from bandweave.models import LAND_COVER
from bandweave.models.cf_ipt import CFIPT, CFIPTConfig
from bandweave.nn.clip.prompted import PromptedClip, PromptedClipConfig
from bandweave.nn.clip.text import TextArchitecture, build_text_tower
from bandweave.nn.clip.tokenizer import load_tokenizer
from bandweave.nn.clip.weights import VisionArchitecture, build_tower
from bandweave.nn.output import HIDDEN, IGNORED
from bandweave.nn.pretrained.provenance import frozen_names
from bandweave.training.checkpoint import load_model, save_model
from bandweave.training.config import TrainConfig
from bandweave.training.optimizer import make_optimizer
from tiny_clip import END, START, tiny_clip

CLASSES = ["grass", "tree", "roof"]
BANDS = {"hsi": 5, "lidar": 1}
ABLATIONS = {
    "1": {"matrices": "ones"},
    "2": {"fusion": "concat"},
    "3": {"upsampling": "bilinear"},
    "4a": {"exchange": "vision"},
    "4b": {"exchange": "text"},
    "4c": {"exchange": "none"},
    "4d": {"exchange": "transformer"},
}


def classes_of(run, scene):
    """Of the scene's first part."""
    return predict_classes(run.predictor(scene.reference), scene.parts[0], run.output_ratio)


def build(bands=BANDS, classes=CLASSES, seed=0, layers=(2, 2), ratios=None, ratio=1, **options):
    torch.manual_seed(seed)
    options = {"patch": 3, "width": 8, "state": 4, "prompts": 2} | options
    options.setdefault("clip", tiny_clip(len(classes), layers))
    model = CFIPT(bands, classes, CFIPTConfig(**options), ratios, ratio)
    for parameter in model.clip.parameters():  # transformers' own are so small that all agree
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    return model


def patches(bands=BANDS, side=3, batch=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch, count, side, side, generator=generator)
        for name, count in bands.items()
    }


def test_about_one_percent_of_clip_trains(monkeypatch):
    """With ViT-B/16's shapes; its towers have no numbers in them, so that none are drawn.

    OpenAI's tokens of the template are six.
    """
    for name, build_one in (("build_tower", build_tower), ("build_text_tower", build_text_tower)):

        def shapes_only(architecture, build_one=build_one):
            with torch.device("meta"):
                return build_one(architecture)

        monkeypatch.setattr(f"bandweave.nn.clip.prompted.{name}", shapes_only)
    monkeypatch.setattr(PromptedClip, "template_words", lambda clip: torch.zeros(6, 512))
    vision, text = VisionArchitecture(), TextArchitecture()
    shape = {"vision": asdict(vision), "text": asdict(text), "scale": 100.0}
    shape["tokens"] = [[49406, 320, 1, 2, 49407]] * 15
    shape["template"] = [1, 2, 3, 4, 5, 6]
    config = CFIPTConfig(clip=PromptedClipConfig(architecture=shape))
    assert config == replace(LAND_COVER["cf_ipt"].config, clip=config.clip)
    for bands in ({"hsi": 30, "lidar": 1}, {"hsi": 30, "lidar": 2}, {"hsi": 30, "sar": 4}):
        model = CFIPT(bands, ["grass"] * 15, config)
        of_clip = sum(p.numel() for p in model.clip.parameters()) + 1  # and its scale
        assert of_clip == 149_620_737
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert 900_000 <= trained <= 1_140_000
        assert 0.006 < trained / of_clip < 0.01
        assert model.prompts.vision.shape == (12, 6, 768)
        assert model.prompts.text.shape == (12, 6, 512)


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_ablation_trains_all_it_has_and_answers_otherwise(name):
    model = build(**ABLATIONS[name])
    labels = torch.tensor([0, 1, 2, IGNORED]).reshape(4, 1, 1)
    out = model(patches(), labels)
    out.loss.backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == frozen_names(model)
    full = build().eval()
    model = build(**ABLATIONS[name]).eval()
    with torch.no_grad():
        shared = {
            n: p for n, p in full.state_dict().items()
            if n in model.state_dict() and model.state_dict()[n].shape == p.shape
        }  # fmt: skip
        model.load_state_dict(shared, strict=False)
        assert not torch.allclose(model(patches()).logits, full(patches()).logits)


def test_ablations_leave_out_what_they_do_not_use():
    names = {key: dict(build(**options).named_parameters()) for key, options in ABLATIONS.items()}
    assert not [n for n in names["2"] if n.startswith(("fuse", "attention.values"))]
    assert not [n for n in names["3"] if n.startswith("upsample.layers")]
    assert not [n for n in names["4a"] if "to_" in n or n == "prompts.text"]
    assert not [n for n in names["4b"] if "to_" in n or n == "prompts.vision"]
    assert not [n for n in names["4c"] if "to_text" in n or "to_vision" in n]
    assert not [n for n in names["4d"] if "A_log" in n]
    bare = build(fusion="concat", exchange="none")
    assert not [n for n, _ in bare.named_parameters() if n.startswith("attention")]


def test_nothing_frozen_moves_in_training():
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = make_optimizer(model, TrainConfig(lr=1e-2))
    model(patches(), torch.tensor([0, 1, 2, 0]).reshape(4, 1, 1)).loss.backward()
    optimizer.step()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == set(before) - frozen_names(model)


def test_the_losses_by_their_formulas():
    model = build(diversity=0.5).eval()
    labels = torch.tensor([0, 2, IGNORED, HIDDEN]).reshape(4, 1, 1)
    with torch.no_grad():
        out = model(patches(), labels)
        image, texts = model._embed(model.pixels(patches()))
    assert torch.allclose(image.norm(dim=-1), torch.ones(4))
    logits = model.clip.scale * torch.einsum("be,bke->bk", image, texts)
    torch.testing.assert_close(out.logits[:, :, 0, 0], logits)
    consistency = nn.functional.cross_entropy(logits[:2], torch.tensor([0, 2]))
    apart = []
    for b in range(2):  # those with labels
        for i in range(3):
            for j in range(3):
                apart.append(abs(float(texts[b, i] @ texts[b, j]) - (i == j)))
    torch.testing.assert_close(out.parts["consistency"], consistency)
    torch.testing.assert_close(out.parts["diversity"], torch.tensor(np.mean(apart)).float())
    torch.testing.assert_close(out.loss, consistency + 0.5 * torch.tensor(np.mean(apart)).float())


def test_finer_labels_of_the_middle_pixel_share_its_logits():
    model = build(ratio=2).eval()
    labels = torch.tensor([[[0, 1], [IGNORED, 1]]] * 4)
    with torch.no_grad():
        out = model(patches(), labels)
    assert out.logits.shape == (4, 3, 2, 2)
    assert torch.equal(out.logits, out.logits[..., :1, :1].expand_as(out.logits))
    each = nn.functional.log_softmax(out.logits[:, :, 0, 0], dim=1)
    expected = -(each[:, 0] + 2 * each[:, 1]).mean() / 3
    torch.testing.assert_close(out.parts["consistency"], expected)
    with pytest.raises(GridMismatch, match=r"labels 3×3 px at ratio 2; .* are 2×2"):
        model(patches(), torch.zeros(4, 3, 3, dtype=torch.int64))


def test_one_layer_takes_both_roles_and_finer_ones_a_stem():
    alone = build({"hsi": 5})
    assert alone.spectral == "hsi"
    assert alone.spatial == ["hsi"]
    assert alone.attention.sizes[:2] == [5, 5]
    several = build({"hsi": 5, "lidar": 1, "rgb": 3}, ratios={"rgb": 2})
    assert several.spatial == ["lidar", "rgb"]
    assert several.attention.sizes[:2] == [5, 1 + 16]
    assert list(several.stems) == ["rgb"]


def test_a_map_may_cut_patches_from_pixels():
    model = build({"hsi": 5, "rgb": 3}, ratios={"rgb": 2}).eval()
    whole = {"hsi": torch.randn(1, 5, 6, 7), "rgb": torch.randn(1, 3, 12, 14)}
    with torch.no_grad():
        pixels = model.pixels(whole)
        assert 4 * pixels.shape[-1] == model.bytes_per_pixel
        patch = {"hsi": whole["hsi"][..., 1:4, 2:5], "rgb": whole["rgb"][..., 2:8, 4:10]}
        torch.testing.assert_close(
            model.classify(pixels[:, 1:4, 2:5]), model(patch).logits[:, :, 0, 0]
        )


@pytest.mark.parametrize("layers", [(2, 2), (3, 2), (2, 3)])
def test_towers_of_different_depth(layers):
    model = build(layers=layers)
    model(patches(), torch.zeros(4, 1, 1, dtype=torch.int64)).loss.backward()
    assert model.prompts.vision.grad.flatten(1).any(1).all()
    assert model.prompts.text.grad.flatten(1).any(1).all()


def test_the_shared_text_is_the_samples_own_where_their_matrices_agree():
    same = {name: layer[:1].expand(4, -1, -1, -1) for name, layer in patches().items()}
    own, shared = build(), build(text="batch")
    shared.load_state_dict(own.state_dict(), strict=False)
    for model in (own, shared):
        model.train()
    of_own = own._embed(own.pixels(same))[1]
    of_all = shared._embed(shared.pixels(same))[1]
    assert of_own.shape == (4, 3, 12)
    assert of_all.shape == (1, 3, 12)
    torch.testing.assert_close(of_all.expand(4, -1, -1), of_own)


def test_the_shared_text_of_use_follows_the_running_mean():
    model = build(text="batch")
    _, matrices = model.attention(model.pixels(patches()).flatten(1, 2))
    model(patches())
    expected = 0.9 * 0.5 + 0.1 * matrices.spectral.mean(0)
    torch.testing.assert_close(model.prompts.spectral_mean, expected.detach())
    expected = 0.9 * 0.5 + 0.1 * matrices.spatial.mean(0)
    torch.testing.assert_close(model.prompts.spatial_mean, expected.detach())
    model.eval()
    before = model.state_dict()["prompts.spectral_mean"].clone()
    with torch.no_grad():
        texts = [model._embed(model.pixels(patches(seed=s)))[1] for s in range(2)]
        assert torch.equal(*texts)
        assert torch.equal(model.prompts.spectral_mean, before)
        model.prompts.spectral_mean.fill_(0.9)
        assert not torch.equal(model._embed(model.pixels(patches()))[1], texts[0])


def test_the_matrices_of_a_sample_move_its_text():
    model = build().eval()
    with torch.no_grad():
        texts = model._embed(model.pixels(patches()))[1]
        assert not torch.allclose(texts[0], texts[1])
        ones = build(matrices="ones").eval()
        assert ones._embed(ones.pixels(patches()))[1].shape[0] == 1


def test_classes_without_meaning_are_warned_about_once(caplog):
    names = ["3", "class 4", "Class_5", "grass"]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            build(classes=names)
        build(classes=["class act", "c3po", "tree"])
    assert [record.getMessage() for record in caplog.records] == [
        "3 of 4 classes have names that say nothing ('3', 'class 4', 'Class_5'): CLIP reads the "
        "names, so its text cannot help there; name the classes in the scene"
    ]


@pytest.mark.parametrize("template", ["soft", "fixed"])
def test_the_texts_are_made_of_the_classes(template):
    config = CFIPTConfig(template=template, clip=PromptedClipConfig(weights="embedded"))
    model = CFIPT(BANDS, ["bare_soil", "trees"], config)
    tokenizer = load_tokenizer("embedded", model.clip.text)
    before = "" if template == "soft" else "A multisource fusion patch of "
    expected = tokenizer([f"{before}bare soil", f"{before}trees"])
    assert model.clip.ids[0].tolist() == expected[0].tolist()
    assert model.prompts.text.shape[1] == 5  # tokens of the template here
    words = model.clip.text_tower.text_model.embeddings.token_embedding.weight[model.clip.template]
    assert torch.equal(model.prompts.text[0], words) is (template == "soft")
    assert model.prompts.text[1].std() < 0.03


def test_a_run_from_before_the_soft_template_keeps_its_words(trained, tmp_path):
    scene, split, _, folder = trained
    options = {"steps": 1, "crop": 3, "batch": 2, "prompts": 2, "template": "fixed", "quiet": True}
    run = bw.train(
        scene, split, "cf_ipt_tiny", tmp_path / "run", clip={"weights": str(folder)}, **options
    )
    expected = classes_of(run, scene)
    tensors, stored = load_model(run.folder.model)
    del stored["config"]["model"]["template"]
    save_model(run.folder.model, tensors, stored)
    again = Run.open(run.folder.path)
    assert again.config.model.template == "fixed"
    assert np.array_equal(classes_of(again, scene), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 0}, "patch is 0; it must be 1 or more"),
        ({"fusion": "sum"}, "fusion is 'sum'; it is one of guided, concat"),
        ({"diversity": -1.0}, "diversity is -1.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"exchange": "transformer", "width": 6}, "width is 6; .* a multiple of 4"),
        ({"exchange": "none", "matrices": "ones"}, "no matrix guides any prompt"),
        ({"exchange": "vision", "text": "batch"}, "no matrix guides any prompt"),
        ({"matrices": "ones", "text": "batch"}, "encoded once anyway"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CFIPTConfig(**options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a simulated scene, with a CLIP of random weights in a folder of its own."""
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    scene = bw.simulated_scene(seed=0, height=24, width=20, bands=5)
    split = bw.split(scene, "blocks", size=4, guard=1)
    out = tmp_path_factory.mktemp("runs")
    options = {"steps": 6, "crop": 5, "batch": 8, "patch": 5, "quiet": True}
    run = bw.train(
        scene, split, model="cf_ipt_tiny", out=out / "run", clip={"weights": str(folder)}, **options
    )
    return scene, split, run, folder


def save_clip(folder, seed=0):
    """transformers' CLIPModel with a byte-level vocabulary, tiny."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    from bandweave.nn.clip.tokenizer import write_vocabulary

    write_vocabulary(folder, [])
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 2, "projection_dim": 12}
    text = CLIPTextConfig(
        vocab_size=514, max_position_embeddings=64, eos_token_id=513, bos_token_id=512, **size
    )
    vision = CLIPVisionConfig(image_size=16, patch_size=8, **size)
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=12
    )
    CLIPModel(config).save_pretrained(folder)


def test_a_run_keeps_clip_by_its_digest_and_maps_as_it_did(trained, tmp_path):
    scene, split, run, folder = trained
    again = Run.open(run.folder.path)
    expected = classes_of(run, scene)
    assert np.array_equal(classes_of(again, scene), expected)
    assert len(np.unique(expected)) > 1
    bw.map_scene(again, scene, tmp_path / "map.tif", quiet=True)
    assert bw.score(again, scene, split, quiet=True).overall_accuracy > 0
    saved, _ = load_model(run.folder.model)
    assert not saved.keys() & frozen_names(run.model)
    weights = folder / "model.safetensors"
    kept = weights.read_bytes()
    try:
        save_clip(folder, seed=1)
        with pytest.raises(bw.errors.WeightsError, match="the run was trained on CLIP weights"):
            Run.open(run.folder.path)
    finally:
        weights.write_bytes(kept)


def test_a_self_contained_run_needs_no_files_of_clip(trained, tmp_path):
    scene, split, _, folder = trained
    options = {"steps": 2, "crop": 5, "batch": 8, "patch": 5, "quiet": True}
    whole = bw.train(
        scene, split, model="cf_ipt_tiny", out=tmp_path / "run", clip={"weights": str(folder)},
        self_contained=True, **options,
    )  # fmt: skip
    expected = classes_of(whole, scene)
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    try:
        again = Run.open(tmp_path / "run")
        assert np.array_equal(classes_of(again, scene), expected)
    finally:
        hidden.rename(folder)


def test_the_map_equals_the_model_on_each_patch(trained):
    scene, _, run, _ = trained
    part, window = scene.parts[0], run.window
    layers = {}
    for name in run.layers:
        ratio = part.layers[name].ratio
        values, _ = run.scaling.read(name, part.layers[name], part.grid.window)
        margin = window // 2 * ratio
        layers[name] = np.pad(values, [(0, 0), (margin, margin), (margin, margin)]), ratio
    strips = list(run.predictor(scene.reference, batch=7).strips(part))
    assert run.output_ratio == 1
    logits = np.concatenate([strip.logits for strip in strips], axis=1)
    for row, col in [(0, 0), (3, 19), (11, 7), (23, 19)]:
        patch = {}
        for name, (values, ratio) in layers.items():
            place = values[:, row * ratio : (row + window) * ratio]
            place = place[:, :, col * ratio : (col + window) * ratio]
            patch[name] = torch.from_numpy(place[None].copy())
        with torch.no_grad():
            expected = run.model(patch).logits[0, :, 0, 0].numpy()
        np.testing.assert_allclose(logits[:, row, col], expected, rtol=1e-4, atol=1e-4)


def test_the_config_of_a_run_is_read_as_it_was_written():
    stored = LandCoverConfig.read({"model": {"name": "cf_ipt_small", "exchange": "none"}})
    assert LandCoverConfig.read(stored.to_dict()) == stored
    assert stored.model.clip.weights == "embedded"
    assert stored.samples.crop == stored.model.patch == 3
    assert LandCoverConfig.read({"model": {"name": "cf_ipt"}}).model == CFIPTConfig()


def test_the_tokens_of_a_description_are_the_sentences_own():
    model = build()
    described = model.clip.describe_architecture()
    assert described["tokens"][0][0] == START
    assert all(each[-1] == END and each.count(END) == 1 for each in described["tokens"])
