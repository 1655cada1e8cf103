"""Text towers and tokenizers of every published format; what does not belong together is told."""

import gzip
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from bandweave.errors import WeightsError
from bandweave.nn.clip.text import (
    TextArchitecture,
    build_text_tower,
    causal_mask,
    embed_texts,
    end_index,
    load_text_tower,
    load_text_weights,
    run_layer,
)
from bandweave.nn.clip.tokenizer import (
    MERGES_FILE,
    ClipTokenizer,
    byte_alphabet,
    load_tokenizer,
    write_vocabulary,
)
from bandweave.nn.clip.weights import OPENCLIP_CONFIG, load_tower, load_vision_weights

TEXTS = ["bare soil", "Roof", "a flat roof, and soil"]
DESCRIBED = {
    "model_cfg": {
        "vision_cfg": {"head_width": 16},
        "text_cfg": {"heads": 2, "width": 16, "context_length": 12},
    }
}


@pytest.fixture
def openclip_file(tmp_path, tiny_openclip):
    """Write the tiny model as an OpenCLIP file of that name; its configuration stands beside."""

    def write(name="tiny.pt", described=DESCRIBED, state=tiny_openclip):
        path = tmp_path / name
        torch.save(state, path)
        if described is not None:
            (tmp_path / OPENCLIP_CONFIG).write_text(json.dumps(described))
        return path

    return write


@pytest.fixture
def no_hub(monkeypatch):
    """A machine whose hub cache is empty; what was asked of it, (repository, file, local)."""
    asked = []

    def absent(repository, name, local_files_only):
        asked.append((repository, name, local_files_only))
        raise FileNotFoundError(name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", absent)
    return asked


@pytest.fixture
def ids(tiny_clip):
    weights = load_text_weights(str(tiny_clip))
    return load_tokenizer(str(tiny_clip), weights.architecture)(TEXTS)


@pytest.fixture
def reference(tiny_clip, ids):
    """transformers' own embeddings of the texts."""
    from transformers import CLIPTextModelWithProjection

    model = CLIPTextModelWithProjection.from_pretrained(tiny_clip, local_files_only=True).eval()
    with torch.no_grad():
        return model(ids).text_embeds


def embeddings(weights, ids, **options):
    tower = load_text_tower(load_text_weights(str(weights), **options)).eval()
    with torch.no_grad():
        return embed_texts(tower, ids)


def test_a_folder_of_transformers(tiny_clip, ids, reference):
    torch.testing.assert_close(embeddings(tiny_clip, ids), reference)
    weights = load_text_weights(str(tiny_clip))
    assert weights.sha256 == load_vision_weights(str(tiny_clip)).sha256
    stored = load_file(tiny_clip / "model.safetensors")["logit_scale"]
    assert weights.logit_scale == pytest.approx(float(stored.exp()))


@pytest.mark.parametrize("prefix", ["", "text."])
def test_an_openclip_file(openclip_file, tiny_openclip, ids, reference, prefix):
    state = {
        (name if name.startswith("visual.") or name == "logit_scale" else prefix + name): value
        for name, value in tiny_openclip.items()
    }
    path = openclip_file(state=state | {"input_resolution": torch.tensor(32)})
    torch.testing.assert_close(embeddings(path, ids), reference)


def test_an_older_configuration_ends_with_the_last_token(tiny_clip, tmp_path, ids, reference):
    described = json.loads((tiny_clip / "config.json").read_text())
    described["text_config"]["eos_token_id"] = 2
    (tmp_path / "config.json").write_text(json.dumps(described))
    shutil.copy(tiny_clip / "model.safetensors", tmp_path)
    torch.testing.assert_close(embeddings(tmp_path, ids), reference)


def test_half_precision_weights_become_single(tiny_clip, tmp_path):
    shutil.copy(tiny_clip / "config.json", tmp_path)
    state = load_file(tiny_clip / "model.safetensors")
    half = {name: value.half() for name, value in state.items()}
    save_file(half, tmp_path / "model.safetensors")
    weights = load_text_weights(str(tmp_path))
    assert {value.dtype for value in weights.tensors.values()} == {torch.float32}


def test_layers_one_by_one_are_the_towers(tiny_clip, ids, reference):
    weights = load_text_weights(str(tiny_clip))
    tower = load_text_tower(weights).eval()
    text = tower.text_model
    with torch.no_grad():
        x = text.embeddings.token_embedding(ids)
        x = x + text.embeddings.position_embedding.weight[: ids.shape[1]]
        for layer in text.encoder.layers:
            x = run_layer(layer, x, causal_mask(ids.shape[1], x))
        x = text.final_layer_norm(x)
        ends = end_index(ids, weights.architecture.eos_token_id)
        torch.testing.assert_close(tower.text_projection(x[range(len(ids)), ends]), reference)


def test_vision_layers_one_by_one_are_the_towers(tiny_clip):
    tower = load_tower(load_vision_weights(str(tiny_clip))).eval()
    vision, images = tower.vision_model, torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        x = vision.pre_layrnorm(vision.embeddings(images))
        for layer in vision.encoder.layers:
            x = run_layer(layer, x)
        found = tower.visual_projection(vision.post_layernorm(x[:, 0]))
        torch.testing.assert_close(found, tower(images).image_embeds)


def test_what_follows_the_end_changes_nothing(tiny_clip, ids):
    short = ids[:2, : int(end_index(ids[:2], 520).max()) + 1]
    longer = torch.cat([short, torch.tensor([[5, 7], [8, 9]])], dim=1)
    expected = embeddings(tiny_clip, short)
    torch.testing.assert_close(embeddings(tiny_clip, longer), expected)
    assert not torch.allclose(expected[0], expected[1])


def test_a_text_without_its_end_is_refused(ids):
    with pytest.raises(ValueError, match="no end token 7"):
        end_index(ids, 7)


def test_the_default_shape_is_vit_b_16s():
    with torch.device("meta"):
        tower = build_text_tower(TextArchitecture())
    assert sum(p.numel() for p in tower.parameters()) == 63_428_096  # of CLIP's 149,620,737


@pytest.mark.parametrize("kind", ["CLIPVisionModelWithProjection", "CLIPTextModelWithProjection"])
def test_half_a_clip_is_refused(tiny_clip, tmp_path, kind):
    import transformers

    getattr(transformers, kind).from_pretrained(tiny_clip).save_pretrained(tmp_path)
    match = "is missing" if "Text" in kind else "clip_vision_model"
    with pytest.raises(WeightsError, match=match):
        load_text_weights(str(tmp_path))


def test_an_openclip_file_of_images_alone_is_refused(openclip_file, tiny_openclip):
    state = {name: value for name, value in tiny_openclip.items() if name.startswith("visual.")}
    with pytest.raises(WeightsError, match=r"no whole CLIP.*text_projection, logit_scale"):
        load_text_weights(str(openclip_file(state=state)))


def test_another_pooling_is_refused(openclip_file):
    text = DESCRIBED["model_cfg"]["text_cfg"] | {"pool_type": "last"}
    model = DESCRIBED["model_cfg"] | {"text_cfg": text}
    with pytest.raises(WeightsError, match="at its end token"):
        load_text_weights(str(openclip_file(described={"model_cfg": model})))


def test_unknown_tensors_are_named(openclip_file, tiny_openclip):
    state = tiny_openclip | {"cls_emb": torch.ones(16)}
    with pytest.raises(WeightsError, match=r"plain CLIP text transformer: 1 are unknown .cls_emb"):
        load_text_tower(load_text_weights(str(openclip_file(state=state))))


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
        load_text_weights(str(path))
    assert not trap.exists()


def test_a_file_of_a_hub_repository(monkeypatch, openclip_file, ids, reference):
    path = openclip_file("RemoteCLIP-tiny.pt")
    asked = []

    def cached(repository, name, local_files_only):
        asked.append((repository, name, local_files_only))
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", cached)
    name = "someone/RemoteCLIP/RemoteCLIP-tiny.pt"
    torch.testing.assert_close(embeddings(name, ids), reference)
    assert asked == [("someone/RemoteCLIP", "RemoteCLIP-tiny.pt", True)]


# Tokenizers


def test_a_tokenizer_starts_ends_and_pads(tiny_clip, ids):
    tokens = load_tokenizer(str(tiny_clip), load_text_weights(str(tiny_clip)).architecture)
    assert (len(tokens), tokens.start, tokens.end) == (521, 519, 520)
    assert tokens.pieces("bare soil") == ["b", "a", "r", "e</w>", "soil</w>"]
    assert ids[1].tolist() == [519, 518] + [520] * (ids.shape[1] - 2)  # roof, then the end
    long = tokens(["soil " * 50])
    assert long.shape == (1, 12)
    assert long[0, -1] == 520


def test_the_alphabet_has_a_letter_for_each_byte():
    alphabet = byte_alphabet()
    assert len(set(alphabet)) == 256
    assert (alphabet[0], alphabet[32], alphabet[188]) == ("!", "A", "Ā")


@pytest.mark.parametrize("cached", ["vocab.json", "tokenizer.json"])
def test_a_tokenizer_in_the_hubs_cache(monkeypatch, tiny_clip, tmp_path, ids, cached):
    for path in tiny_clip.iterdir():
        shutil.copy(path, tmp_path)
    shape = load_text_weights(str(tiny_clip)).architecture
    if cached == "tokenizer.json":
        load_tokenizer(str(tiny_clip), shape).backend.save_pretrained(tmp_path)
        for name in ("vocab.json", "merges.txt"):
            (tmp_path / name).unlink(missing_ok=True)

    def local(repository, name, local_files_only):
        assert local_files_only
        if not (tmp_path / name).is_file():
            raise FileNotFoundError(name)
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", local)
    assert torch.equal(load_tokenizer("someone/tiny-clip", shape)(TEXTS), ids)


def test_an_openclip_file_takes_the_tokenizer_beside_it(openclip_file, tiny_clip, ids, no_hub):
    path = openclip_file()
    shape = load_text_weights(str(path)).architecture
    with pytest.raises(WeightsError, match=r"no tokenizer for .*vocab\.json.*--clip\.download"):
        load_tokenizer(str(path), shape)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(tiny_clip / name, path.parent)
    assert torch.equal(load_tokenizer(str(path), shape)(TEXTS), ids)


def test_the_standard_tokenizer_is_looked_for_in_the_cache(openclip_file, no_hub):
    path = openclip_file()
    with pytest.raises(WeightsError, match="is not on this machine"):
        load_tokenizer(str(path), TextArchitecture())
    assert {(repository, local) for repository, _, local in no_hub} == {
        ("openai/clip-vit-base-patch16", True)
    }
    no_hub.clear()
    with pytest.raises(WeightsError, match="is not on this machine"):
        load_tokenizer(str(path), TextArchitecture(), download=True)
    assert {local for _, _, local in no_hub} == {False}


def test_a_tokenizer_of_another_model_is_refused(openclip_file):
    path = openclip_file()
    write_vocabulary(path.parent, ["a b"])
    with pytest.raises(WeightsError, match=r"has 515 tokens and ends texts with 514.*knows 521"):
        load_tokenizer(str(path), load_text_weights(str(path)).architecture)


def test_damaged_tokenizers_are_refused(openclip_file):
    path = openclip_file()
    shape = load_text_weights(str(path)).architecture
    (path.parent / MERGES_FILE).write_bytes(b"no gzip")
    with pytest.raises(WeightsError, match="not a readable list of merges"):
        load_tokenizer(str(path), shape)
    (path.parent / MERGES_FILE).write_bytes(gzip.compress(b"version\na b\n"))
    with pytest.raises(WeightsError, match="48894 pairs of tokens are needed"):
        load_tokenizer(str(path), shape)
    (path.parent / "vocab.json").write_text("{")
    (path.parent / "merges.txt").write_text("a b")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_tokenizer(str(path), shape)


def test_openais_merges(real_data, tmp_path):
    folder = real_data("clip-bpe")
    shutil.copy(folder / MERGES_FILE, tmp_path)
    torch.save({}, tmp_path / "tiny.pt")
    tokens = load_tokenizer(str(tmp_path / "tiny.pt"), TextArchitecture())
    assert isinstance(tokens, ClipTokenizer)
    assert tokens(["a photo of a cat"]).tolist() == [[49406, 320, 1125, 539, 320, 2368, 49407]]
