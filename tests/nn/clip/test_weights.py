"""Every published format gives the same tower; what is absent, foreign or unsafe is refused."""

import hashlib
import json
import logging
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from bandweave.errors import WeightsError
from bandweave.nn.clip.weights import OPENCLIP_CONFIG, load_tower, load_vision_weights

DESCRIBED = {"model_cfg": {"embed_dim": 24, "vision_cfg": {"head_width": 16, "width": 32}}}


@pytest.fixture
def openclip_file(tmp_path, tiny_openclip):
    """Write the tiny model as an OpenCLIP file of that name; its configuration stands beside."""

    def write(name="tiny.pt", described=DESCRIBED, state=tiny_openclip):
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file(state, path)
        else:
            torch.save(state, path)
        if described is not None:
            (tmp_path / OPENCLIP_CONFIG).write_text(json.dumps(described))
        return path

    return write


@pytest.fixture
def reference(tiny_clip):
    """transformers' own reading of the tiny model, on two images."""
    from transformers import CLIPVisionModelWithProjection

    torch.manual_seed(1)
    images = torch.randn(2, 3, 32, 32)
    model = CLIPVisionModelWithProjection.from_pretrained(tiny_clip, local_files_only=True).eval()
    with torch.no_grad():
        return images, model(images)


def assert_same(weights, reference, **options):
    images, expected = reference
    tower = load_tower(load_vision_weights(str(weights), **options)).eval()
    with torch.no_grad():
        found = tower(images)
    torch.testing.assert_close(found.image_embeds, expected.image_embeds)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state)


def test_a_folder_of_transformers(tiny_clip, reference):
    assert_same(tiny_clip, reference)


def test_a_folder_of_transformers_with_bin_weights(tiny_clip, reference, tmp_path):
    shutil.copy(tiny_clip / "config.json", tmp_path)
    torch.save(load_file(tiny_clip / "model.safetensors"), tmp_path / "pytorch_model.bin")
    assert_same(tmp_path, reference)


@pytest.mark.parametrize("kind", ["CLIPVisionModel", "CLIPVisionModelWithProjection"])
def test_a_vision_tower_saved_alone(tiny_clip, reference, tmp_path, kind):
    import transformers

    getattr(transformers, kind).from_pretrained(tiny_clip).save_pretrained(tmp_path)
    weights = load_vision_weights(str(tmp_path))
    whole = load_vision_weights(str(tiny_clip))
    kept = set(whole.tensors) - (
        {"visual_projection.weight"} if kind == "CLIPVisionModel" else set()
    )
    assert set(weights.tensors) == kept
    assert all(torch.equal(weights.tensors[name], whole.tensors[name]) for name in kept)
    if kind == "CLIPVisionModel":
        assert weights.architecture.projection_dim == 0
        load_tower(weights)  # the missing projection is not asked for
    else:
        assert_same(tmp_path, reference)


@pytest.mark.parametrize("name", ["tiny.pt", "tiny.safetensors"])
def test_an_openclip_file(openclip_file, reference, name):
    assert_same(openclip_file(name), reference)


def test_an_openclip_training_checkpoint(openclip_file, reference, tiny_openclip):
    state = {"module." + name: value for name, value in tiny_openclip.items()}
    path = openclip_file(state={"epoch": 3, "name": "tiny", "state_dict": state})
    assert_same(path, reference)


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "RemoteCLIP-tiny.pt"])
def test_an_openclip_folder(openclip_file, reference, name):
    assert_same(openclip_file(name).parent, reference)


def test_half_precision_weights_become_single(openclip_file, tiny_openclip):
    half = {name: value.half() for name, value in tiny_openclip.items()}
    weights = load_vision_weights(str(openclip_file(state=half)))
    assert {value.dtype for value in weights.tensors.values()} == {torch.float32}


def test_the_digest_is_the_files(openclip_file):
    path = openclip_file()
    weights = load_vision_weights(str(path))
    assert weights.source == str(path)
    assert weights.sha256 == {"tiny.pt": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("described", "asked", "expected"),
    [
        ({}, "auto", "gelu"),
        ({"quick_gelu": True}, "auto", "quick_gelu"),
        ({}, "quick_gelu", "quick_gelu"),
    ],
)
def test_the_activation_follows_the_configuration(openclip_file, described, asked, expected):
    model = DESCRIBED["model_cfg"] | described
    path = openclip_file(described={"model_cfg": model})
    weights = load_vision_weights(str(path), activation=asked)
    assert weights.architecture.hidden_act == expected


@pytest.mark.parametrize(("patch", "expected"), [(16, "quick_gelu"), (8, "gelu")])
def test_a_bare_file_of_openais_shape_takes_its_activation(tmp_path, caplog, patch, expected):
    state = {
        "visual.class_embedding": torch.zeros(768),
        "visual.conv1.weight": torch.zeros(768, 3, patch, patch),
        "visual.positional_embedding": torch.zeros(197, 768),
    }
    torch.save(state, tmp_path / "bare.pt")
    with caplog.at_level(logging.WARNING):
        weights = load_vision_weights(str(tmp_path / "bare.pt"))
    assert weights.architecture.hidden_act == expected
    assert weights.architecture.num_attention_heads == 12
    assert weights.architecture.image_size == 14 * patch
    assert "--clip.activation" in caplog.text


def test_an_unknown_head_width_is_asked_for(openclip_file):
    with pytest.raises(WeightsError, match=r"width of .* is 32, not a multiple of 64.*head_width"):
        load_vision_weights(str(openclip_file(described=None)))


def test_absent_hub_weights_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    with pytest.raises(WeightsError) as caught:
        load_vision_weights("nobody/no-such-clip")
    message = str(caught.value)
    for part in ("nobody/no-such-clip", "--clip.download true", "--clip.weights PATH", "none"):
        assert part in message


def test_nothing_is_asked_of_the_network_unless_told(monkeypatch):
    asked = []

    def absent(repository, name, local_files_only):
        asked.append(local_files_only)
        raise FileNotFoundError(name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", absent)
    with pytest.raises(WeightsError, match="not on this machine"):
        load_vision_weights("nobody/no-such-clip")
    assert asked == [True]
    with pytest.raises(WeightsError, match=r"could not be downloaded: config\.json"):
        load_vision_weights("nobody/no-such-clip", download=True)
    assert asked == [True, False]


def test_hub_weights_in_the_local_cache(monkeypatch, tiny_clip, reference):
    def cached(repository, name, local_files_only):
        if not (tiny_clip / name).is_file():
            raise FileNotFoundError(name)
        return str(tiny_clip / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", cached)
    assert_same("someone/tiny-clip", reference)


@pytest.mark.parametrize("weights", ["./nowhere", "/no/such/clip", "absent.pt"])
def test_an_absent_path_is_not_taken_for_a_hub_id(weights):
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_vision_weights(weights)


class Payload:
    """Would make a folder if it were unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_pickle_is_refused_and_not_run(openclip_file, tiny_openclip, tmp_path):
    trap = tmp_path / "trap"
    path = openclip_file(state=tiny_openclip | {"optimizer": Payload(trap)})
    with pytest.raises(WeightsError, match="refused: it holds Python objects"):
        load_vision_weights(str(path))
    assert not trap.exists()


def test_a_torchscript_archive_is_refused(tmp_path):
    path = tmp_path / "ViT-B-16.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(WeightsError, match=r"TorchScript archive.*hub id"):
        load_vision_weights(str(path))


@pytest.mark.parametrize("name", ["cut.pt", "cut.safetensors"])
def test_a_truncated_file_is_refused(openclip_file, name):
    path = openclip_file(name)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match="cut"):
        load_vision_weights(str(path))


def test_another_kind_of_model_is_refused(tiny_clip, tmp_path):
    shutil.copy(tiny_clip / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(WeightsError, match="'siglip' model"):
        load_vision_weights(str(tmp_path))


def test_another_kind_of_tower_is_refused(openclip_file):
    path = openclip_file(state={"visual.layer1.0.conv1.weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match="no CLIP vision transformer"):
        load_vision_weights(str(path))


def test_a_tower_that_pools_patches_is_refused(openclip_file):
    path = openclip_file(described={"model_cfg": {"vision_cfg": {"pool_type": "avg"}}})
    with pytest.raises(WeightsError, match="pools its patches"):
        load_vision_weights(str(path))


def test_unknown_and_missing_tensors_are_named(openclip_file, tiny_openclip):
    state = dict(tiny_openclip)
    state["visual.transformer.resblocks.0.ls_1.gamma"] = torch.ones(32)
    del state["visual.ln_post.bias"]
    weights = load_vision_weights(str(openclip_file(state=state)))
    with pytest.raises(WeightsError, match=r"1 tensors are missing .*post_layernorm.bias.*ls_1"):
        load_tower(weights)


def test_a_file_of_transformers_without_its_folder(tiny_clip):
    with pytest.raises(WeightsError, match="give its folder"):
        load_vision_weights(str(tiny_clip / "model.safetensors"))


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "notes.txt").write_text("none here")
    with pytest.raises(WeightsError, match=r"holds no CLIP weights.*notes\.txt"):
        load_vision_weights(str(tmp_path))


def test_a_folder_with_several_checkpoints(tmp_path):
    for name in ("RemoteCLIP-ViT-B-32.pt", "RemoteCLIP-ViT-L-14.pt"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="2 weight files"):
        load_vision_weights(str(tmp_path))
