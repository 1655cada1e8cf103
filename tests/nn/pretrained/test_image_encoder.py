"""Published image encoders: their features lie where the picture has them."""

import json
import shutil

import pytest
import torch
from torch import nn

from bandweave.errors import WeightsError
from bandweave.nn.pretrained.image_encoder import ImageEncoder
from bandweave.nn.pretrained.provenance import check_weights, frozen_names, weights_fingerprint

SIDE = 16
VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIDE}
VIT |= {"patch_size": 4, "intermediate_size": 16}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "patch_size": 4}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
CLIP_TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
CLIP_TEXT |= {"intermediate_size": 8, "bos_token_id": 18, "eos_token_id": 19, "pad_token_id": 19}

KINDS = {  # → transformers' configuration, and the grid of its features
    "vit": (VIT, 4),
    "dinov2": ({**VIT, "mlp_ratio": 1}, 4),
    "dinov2_with_registers": ({**VIT, "mlp_ratio": 1, "num_register_tokens": 3}, 4),
    "dinov3_vit": ({**VIT, "num_register_tokens": 2}, 4),
    "beit": (VIT, 4),
    "deit": (VIT, 4),
    "clip": ({"text_config": CLIP_TEXT, "vision_config": VIT, "projection_dim": 6}, 4),
    "siglip_vision_model": (VIT, 4),
    "swin": ({**SWIN, "image_size": SIDE}, 2),
    "convnext": ({**STAGES, "num_stages": 2, "image_size": SIDE}, 2),
    "resnet": ({**STAGES, "embedding_size": 8, "layer_type": "basic"}, 28),
}


def save_encoder(folder, kind="vit", seed=0, **options):
    """A model of random weights in transformers' format, tiny."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    torch.manual_seed(seed)
    config = transformers.CONFIG_MAPPING[kind].from_dict({**KINDS[kind][0], **options})
    model = getattr(transformers, MODEL_MAPPING_NAMES[kind])(config).eval()
    for parameter in model.parameters():  # biases and scales are not left at 0 and 1
        nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model


def change_config(folder, **values):
    """Other values in the folder's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def folder(tmp_path):
    save_encoder(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_transformers_own_and_lie_where_the_picture_has_them(kind, tmp_path):
    model = save_encoder(tmp_path, kind)
    encoder = ImageEncoder(str(tmp_path))
    grid = KINDS[kind][1]
    picture = torch.randn(2, 3, encoder.side, encoder.side)
    with torch.no_grad():
        features = encoder(picture)
        tower = getattr(model, "vision_model", model)
        own = tower(picture).last_hidden_state
        assert features.shape == (2, 16, grid, grid)
        if own.ndim == 3:
            own = own[:, own.shape[1] - grid**2 :].transpose(1, 2).reshape(features.shape)
        torch.testing.assert_close(features, own)
        step = encoder.side // grid
        picture[:, :, :step, -step:] += 3  # in the upper right
        moved = (encoder(picture) - features).square().sum(1).flatten(1).argmax(1)
    near = grid // 16  # of a convolution, which looks beside the pixel too
    assert all(m // grid <= near and m % grid >= grid - 1 - near for m in moved.tolist())


def test_other_sizes_are_multiples_of_the_patch(tmp_path):
    for kind, sides in {"vit": (8, 23), "clip": (8, 23), "dinov3_vit": (8, 24)}.items():
        save_encoder(tmp_path / kind, kind)
        for side in sides:
            encoder = ImageEncoder(str(tmp_path / kind), side=side)
            assert encoder.side == round(side / 4) * 4
            features = encoder(torch.zeros(1, 3, encoder.side, encoder.side))
            assert features.shape == (1, 16, encoder.side // 4, encoder.side // 4)


def test_other_numbers_of_channels(tmp_path):
    save_encoder(tmp_path, num_channels=5)
    assert ImageEncoder(str(tmp_path)).channels == 5


def test_it_neither_trains_nor_adapts(tmp_path):
    save_encoder(tmp_path, "resnet")
    encoder = ImageEncoder(str(tmp_path), side=32)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.train()
    assert not encoder.training
    pictures = torch.randn(2, 3, 32, 32, requires_grad=True)
    encoder(pictures).sum().backward()
    assert pictures.grad.any()
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert frozen_names(encoder) == before.keys()


def test_the_embedded_clip_is_an_encoder():
    encoder = ImageEncoder("embedded")
    assert (encoder.channels, encoder.side, encoder.width) == (3, 48, 144)
    assert encoder(torch.zeros(1, 3, 48, 48)).shape == (1, 144, 6, 6)


def test_other_weights_than_the_runs_are_refused(folder, tmp_path):
    encoder = ImageEncoder(str(folder))
    recorded = weights_fingerprint(encoder)
    assert recorded["source"] == str(folder)
    assert list(recorded["sha256"]) == ["model.safetensors"]
    check_weights(encoder, json.loads(json.dumps(recorded)))
    save_encoder(folder, seed=1)
    with pytest.raises(WeightsError, match=r"was trained on the encoder .* with `--weights PATH`"):
        check_weights(ImageEncoder(str(folder)), recorded)


@pytest.mark.parametrize("kind", ["dinov2", "clip"])
def test_it_is_built_from_its_architecture(kind, tmp_path):
    save_encoder(tmp_path, kind)
    encoder = ImageEncoder(str(tmp_path))
    architecture = json.loads(json.dumps(encoder.describe_architecture()))
    other = ImageEncoder("gone/away", architecture=architecture)
    other.load_state_dict(encoder.state_dict())
    assert weights_fingerprint(other)["sha256"] == {}
    pictures = torch.randn(1, 3, SIDE, SIDE)
    assert torch.equal(other(pictures), encoder(pictures))


def test_weights_in_several_files(tmp_path):
    model = save_encoder(tmp_path / "one")
    model.save_pretrained(tmp_path / "several", max_shard_size="4KB")
    one, several = (ImageEncoder(str(tmp_path / name)) for name in ("one", "several"))
    assert len(several.sha256) > 1
    pictures = torch.randn(1, 3, SIDE, SIDE)
    assert torch.equal(one(pictures), several(pictures))
    next((tmp_path / "several").glob("*00001-*")).unlink()
    with pytest.raises(WeightsError, match=r"lacks model-00001-of"):
        ImageEncoder(str(tmp_path / "several"))


# What is refused


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model.bin is not read, since unpickling runs"):
        ImageEncoder(str(folder))


def test_models_of_text_are_refused(tmp_path):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=9, intermediate_size=8, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"is a 'bert' model, which is no encoder of pictures"):
        ImageEncoder(str(tmp_path))


def test_code_that_comes_with_weights_is_not_run(folder):
    (folder / "modeling.py").write_text("raise SystemExit")
    change_config(folder, model_type="own", auto_map={"AutoModel": "modeling.Own"})
    with pytest.raises(WeightsError, match=r"type 'own'.*code that comes with weights is not run"):
        ImageEncoder(str(folder))


def test_weights_of_another_shape_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "deep")
    change_config(tmp_path / "deep", num_hidden_layers=2)
    with pytest.raises(WeightsError, match=r"files lack \d+ tensors that its config.json asks for"):
        ImageEncoder(str(tmp_path / "deep"))
    change_config(folder, hidden_size=32)
    with pytest.raises(WeightsError, match="cannot be read"):
        ImageEncoder(str(folder))
    (folder / "model.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(WeightsError, match="cannot be read"):
        ImageEncoder(str(folder))
    (folder / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="describes no model"):
        ImageEncoder(str(folder))


def test_an_encoder_that_masks_is_refused(tmp_path):
    from transformers import ViTMAEConfig, ViTMAEModel

    ViTMAEModel(ViTMAEConfig(**VIT, mask_ratio=0.0)).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="as masked autoencoders do"):
        ImageEncoder(str(tmp_path))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("", "weights is empty: .*`--weights embedded`"),
        ("/not/there", "no encoder at '/not/there'.*there is none"),
        ("nothing", "no encoder at 'nothing'"),
        ("own/er", r"'own/er' is not on this machine.*`--download true`.*`--weights PATH`"),
    ],
)
def test_weights_that_are_not_there(weights, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=message) as refused:
        ImageEncoder(weights)
    assert "\n" not in str(refused.value)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "er").mkdir()
    with pytest.raises(WeightsError, match=r"holds no encoder: expected config.json.*no file"):
        ImageEncoder("own/er")
