"""The prompted towers against transformers' own and against a slow form that shares nothing."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bandweave.errors import ConfigError, WeightsError
from bandweave.nn.clip.prompted import PromptedClip, PromptedClipConfig, Sentences
from bandweave.nn.clip.text import causal_mask, run_layer
from bandweave.nn.pretrained.provenance import frozen_names, weights_fingerprint
from tiny_clip import END, START, tiny_clip

TOKENS = [[START, 1, 2, 3, END], [START, 1, 2, 4, 5, 6, END], [START, 1, 2, END]]
SENTENCES = Sentences(["a", "b", "c"], "template")


def clip(prompts=2, tokens=TOKENS, soft=False, **options):
    torch.manual_seed(0)
    sentences = replace(SENTENCES, classes=SENTENCES.classes[: len(tokens)], soft=soft)
    config = tiny_clip(tokens=tokens, **options)
    model = PromptedClip(sentences, prompts, config, in_text=prompts > 0)
    for name, p in model.named_parameters():  # transformers' own are so small that all texts agree
        if "norm" not in name:
            nn.init.normal_(p, std=0.3 if p.ndim > 1 else 0.1)
    return model.double()


def given(model, tower, batch=2, count=2):
    layers, width = (
        (model.vision.num_hidden_layers, model.vision.hidden_size)
        if tower == "vision"
        else (model.text.num_hidden_layers, model.text.hidden_size)
    )
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, layers, count, width, generator=generator, dtype=torch.float64)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_without_prompts_images_are_embedded_as_transformers_does():
    model = clip()
    expected = unit(model.vision_tower(pixel_values=IMAGES).image_embeds)
    torch.testing.assert_close(model.embed_images(IMAGES, None), expected)


def test_without_prompts_texts_are_embedded_as_transformers_does_at_full_length():
    model = clip(prompts=0)
    room = model.text.max_position_embeddings
    ids = torch.tensor([[*each, *[END] * (room - len(each))] for each in TOKENS])
    expected = unit(model.text_tower(input_ids=ids).text_embeds)
    found = model.embed_texts(None)
    assert found.shape == (1, 3, 12)
    torch.testing.assert_close(found[0], expected)
    assert model.ids.shape[1] == max(len(each) for each in TOKENS) < room


def test_prompts_are_replaced_in_every_layer_of_the_image():
    model = clip()
    prompts = given(model, "vision")
    tower = model.vision_tower.vision_model
    x = tower.pre_layrnorm(tower.embeddings(IMAGES))
    own = x.shape[1]
    for i, layer in enumerate(tower.encoder.layers):
        x = run_layer(layer, torch.cat([x[:, :own], prompts[:, i]], dim=1))
    expected = unit(model.vision_tower.visual_projection(tower.post_layernorm(x[:, 0])))
    torch.testing.assert_close(model.embed_images(IMAGES, prompts), expected)
    same = model.embed_images(IMAGES, prompts[:1])  # one set for all samples
    torch.testing.assert_close(same[0], expected[0])


@pytest.mark.parametrize("tokens", [TOKENS, TOKENS[:1], [TOKENS[0], [START, 7, END]]])
def test_prompts_are_replaced_in_every_layer_of_the_text(tokens):
    """By a full-length pass of every class for itself, with all that follows the end."""
    model = clip(tokens=tokens)
    prompts = given(model, "text")
    tower = model.text_tower.text_model
    room = model.text.max_position_embeddings
    found = model.embed_texts(prompts)
    assert found.shape == (2, len(tokens), 12)
    for b in range(2):
        for k, ids in enumerate(tokens):
            padded = torch.tensor([[*ids, *[END] * (room - 2 - len(ids))]])
            words = tower.embeddings.token_embedding(padded)
            x = torch.cat([words[:, :1], prompts[b : b + 1, 0], words[:, 1:]], dim=1)
            x = x + tower.embeddings.position_embedding.weight
            for i, layer in enumerate(tower.encoder.layers):
                if i:
                    x = torch.cat([x[:, :1], prompts[b : b + 1, i], x[:, 3:]], dim=1)
                x = run_layer(layer, x, causal_mask(room, x))
            end = x[:, 2 + len(ids) - 1]
            expected = unit(model.text_tower.text_projection(tower.final_layer_norm(end)))
            torch.testing.assert_close(found[b, k], expected[0])


def test_classes_share_what_their_sentences_begin_with():
    assert clip().shared == 3
    assert clip(tokens=TOKENS[:1]).shared == 4  # of one class all but the end
    assert clip(tokens=[TOKENS[0], [START, 7, END]]).shared == 1


def test_every_prompt_of_every_layer_matters():
    model = clip()
    for tower, embed in (("vision", lambda p: model.embed_images(IMAGES, p)),
                         ("text", model.embed_texts)):  # fmt: skip
        prompts = given(model, tower).requires_grad_()
        embed(prompts)[..., 0].sum().backward()
        assert prompts.grad.abs().sum(-1).ne(0).all()


def test_the_towers_are_frozen_and_known_as_such():
    model = nn.Sequential(clip())
    assert not [n for n, p in model.named_parameters() if p.requires_grad]
    assert frozen_names(model) == set(model.state_dict())
    assert weights_fingerprint(model)["architecture"]["tokens"] == TOKENS


def test_it_is_built_again_from_its_description():
    model = clip(layers=(3, 2))
    again = PromptedClip(
        SENTENCES, 2, PromptedClipConfig(architecture=model.describe_architecture())
    ).double()
    again.load_state_dict(model.state_dict())
    prompts = given(model, "text")
    assert torch.equal(again.embed_texts(prompts), model.embed_texts(prompts))
    assert again.scale == model.scale


def test_a_class_whose_name_is_too_long_is_refused():
    long = [TOKENS[0], [START, *[3] * 10, END]]
    clip(tokens=long)  # 12 tokens and 2 prompts are all that there is room for
    with pytest.raises(
        ConfigError, match=r"'template b' takes 12 tokens and there are 3 prompts.* takes 14"
    ):
        clip(prompts=3, tokens=long)


def test_a_tower_without_the_embedding_is_refused():
    config = tiny_clip()
    config.architecture["vision"]["projection_dim"] = 0
    with pytest.raises(WeightsError, match="no projection"):
        PromptedClip(SENTENCES, 2, config)


def test_a_soft_template_is_the_sentence_that_stands_there():
    """Its words' embeddings as prompts of the first layer, and none deeper, give the sentence."""
    soft = clip(0 + 2, tokens=[[START, 4, 5, END], [START, 6, END]], soft=True)
    fixed = clip(0, tokens=[[START, *soft.template[:2], 4, 5, END], [START, 1, 2, 6, END]])
    assert soft.template[:2] == [1, 2]
    words = soft.template_words()
    table = soft.text_tower.text_model.embeddings.token_embedding.weight
    assert torch.equal(words, table[[1, 2]])
    fixed.load_state_dict(soft.state_dict())
    tower = soft.text_tower.text_model
    tower.encoder.layers = tower.encoder.layers[:1]  # deeper layers would have their own prompts
    fixed.text_tower.text_model.encoder.layers = tower.encoder.layers
    torch.testing.assert_close(soft.embed_texts(words[None, None]), fixed.embed_texts(None))


def test_prompts_are_as_many_as_the_words_of_the_template_where_no_number_is_given():
    names = Sentences(["a", "b", "c"], "template", soft=True)
    assert PromptedClip(names, 0, tiny_clip()).prompts == 3
    assert len(PromptedClip(names, 5, tiny_clip()).template_words()) == 3  # two start at random
    assert len(PromptedClip(names, 2, tiny_clip()).template_words()) == 2
    assert len(PromptedClip(replace(names, soft=False), 0, tiny_clip()).template_words()) == 0
    without = PromptedClip(names, 0, tiny_clip(), in_text=False)
    assert (without.count, without.prompts, without.soft) == (3, 0, False)
    older = tiny_clip()
    del older.architecture["template"]
    assert PromptedClip(names, 4, older).count == 4
    with pytest.raises(ConfigError, match="prompts is 0, and the template has no tokens"):
        PromptedClip(names, 0, older)
