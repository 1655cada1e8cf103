"""A published image encoder of transformers, frozen, as a map of features.

    picture (B, C, S, S) → encoder → tokens (B, P + G·G, M) or a map (B, M, G, G) → (B, M, G, G)
    C channels and S the side that it takes, P tokens of no place (class, registers), M its width

Any model is taken that transformers' AutoModel builds from `config.json` and fills from
safetensors, and that takes pictures of one size: ViT, DINOv2, DINOv3, BEiT, Swin, ConvNeXt, ResNet,
the image tower of CLIP or SigLIP. No code that comes with weights is run, nothing is unpickled, and
nothing downloaded unless asked.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bandweave.errors import WeightsError
from bandweave.nn.clip.files import EMBEDDED, EMBEDDED_FOLDER
from bandweave.nn.pretrained.provenance import FrozenPart
from bandweave.nn.pretrained.published_files import explain_failure, fetch_file, read_json, sha256

TENSORS = "model.safetensors"
SHARDS = "model.safetensors.index.json"  # which files hold what, of weights in several
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SIDE = 224  # px of a picture, where a configuration does not say
UNUSED = ("pooler", "head", "mask_token", "position_ids")  # tensors that features do not depend on
FOREIGN = ("auto_map", "quantization_config", "attn_implementation", "experts_implementation")
OPTION = "--weights PATH"


class ImageEncoder(FrozenPart):
    """A published encoder that never changes: its tensors do not train, nor do its norms adapt.

    weights       `embedded` (the image tower of the CLIP that comes along), a folder, or a hub id
    side          px of its pictures; 0: as it was trained
    download      whether what is not on this machine may be fetched
    architecture  None, or what `describe_architecture` gave: the weights then come with the run

    channels      C
    width         M

    Raises WeightsError for weights that are not there, not to be read safely, or of no encoder of
    pictures of that size.
    """

    kind = "the encoder"
    option = OPTION

    def __init__(
        self,
        weights: str,
        side: int = 0,
        download: bool = False,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.tower: Any  # transformers' model
        with torch.device("cpu"):  # also where a model is made without values, to count them
            if architecture is None:
                self.source = weights
                folder = find_encoder(weights, download)
                for name in _list_tensor_files(folder, weights):
                    self.sha256 |= sha256(folder / name)
                self.tower = _load(folder, weights)
            else:
                config = _make_config(architecture, weights)
                self.tower = _find_class(config, weights)(config)
        self.requires_grad_(False)
        self.train(False)
        described = self.tower.config
        self.channels: int = getattr(described, "num_channels", None) or 3
        own = _as_number(getattr(described, "image_size", None)) or SIDE
        patch = _as_number(getattr(described, "patch_size", None))
        step = patch or 1
        self.side = max(1, round((side or own) / step)) * step
        self.patch, self.registers = patch, getattr(described, "num_register_tokens", 0) or 0
        resized = "interpolate_pos_encoding" in inspect.signature(self.tower.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if resized and self.side != own else {}
        self.width = self._look_once(weights)

    def train(self, mode: bool = True) -> ImageEncoder:
        """Stay as it is: a frozen encoder only ever evaluates."""
        return super().train(False)

    @property
    def frozen(self) -> list[str]:
        """All of it."""
        return ["tower"]

    def describe_architecture(self) -> dict[str, Any]:
        """Its configuration, as config.json has it."""
        return json.loads(self.tower.config.to_json_string(use_diff=False))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, S, S) to features (B, M, G, G), rows and columns as in the picture."""
        features: Tensor = self.tower(pictures, **self.options).last_hidden_state
        if features.ndim == 4:  # (B, M, G, G), or channels last
            last = features.shape[2] != features.shape[3] == self.tower.config.hidden_size
            return features.movedim(-1, 1) if last else features
        tokens = features.shape[1]
        grid = self.side // self.patch if self.patch else tokens
        if grid**2 > tokens:  # patches are merged on the way
            grid = math.isqrt(tokens)
        placeless = tokens - grid**2
        if placeless > 2 + self.registers:
            raise ValueError(f"{tokens} tokens lie on no square grid")
        return features[:, placeless:].transpose(1, 2).unflatten(2, (grid, grid))

    @torch.no_grad()
    def _look_once(self, weights: str) -> int:
        """The width, of features that are a square map and the same when asked again."""
        shape = 1, self.channels, self.side, self.side
        picture = torch.linspace(-1, 1, math.prod(shape), device="cpu").reshape(shape)
        try:
            first, second = self(picture), self(picture)
        except Exception as error:  # models refuse sizes in ways of their own
            raise WeightsError(
                f"the encoder {weights!r} makes no map of features of pictures of "
                f"{self.channels} × {self.side} × {self.side}: {explain_failure(error)}"
            ) from error
        if not torch.equal(first, second):
            raise WeightsError(
                f"the encoder {weights!r} answers the same picture differently each time, as "
                f"masked autoencoders do: give an encoder without its masking with `{OPTION}`"
            )
        return first.shape[1]


def find_encoder(weights: str, download: bool = False) -> Path:
    """The folder with an encoder's config.json and safetensors. Raises WeightsError without one."""
    if weights == EMBEDDED:
        return EMBEDDED_FOLDER
    if not weights:
        raise WeightsError(
            f"weights is empty: name an encoder by its folder or hub id with `{OPTION}`, or take "
            f"the small one that comes with bandweave, `--weights {EMBEDDED}`"
        )
    folder = Path(weights).expanduser()
    if folder.is_dir():
        _list_tensor_files(folder, weights)
        return folder
    if folder.exists() or weights.startswith((".", "/", "~")) or weights.count("/") != 1:
        what = "that is a file" if folder.exists() else "there is none"
        raise WeightsError(
            f"no encoder at {weights!r}: give the folder that holds its config.json and {TENSORS}; "
            f"{what}"
        )
    return _find_on_hub(weights, download)


def _find_on_hub(weights: str, download: bool) -> Path:
    """The folder of a hub repository in the hub's local cache."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import EntryNotFoundError

    try:
        folder = fetch_file(weights, "config.json", download).parent
        try:
            fetch_file(weights, TENSORS, download)
        except (OSError, EntryNotFoundError):
            index = read_json(fetch_file(weights, SHARDS, download))
            for name in _list_shards(index, weights):
                fetch_file(weights, name, download)
    except (OSError, ValueError, EntryNotFoundError) as error:
        if download:
            raise WeightsError(
                f"the encoder {weights!r} could not be downloaded: {explain_failure(error)}; check "
                f"the name, that it has {TENSORS}, and the network, or copy its folder here and "
                f"give it as `{OPTION}`"
            ) from error
        raise WeightsError(
            f"the encoder {weights!r} is not on this machine (no such folder, and nothing whole "
            f"under {HF_HUB_CACHE}): fetch it once with `--download true`, give a folder with "
            f"`{OPTION}`, or take the small one that comes with bandweave, `--weights {EMBEDDED}`"
        ) from error
    return folder


def _list_tensor_files(folder: Path, weights: str) -> list[str]:
    """Names of the files in the folder that hold the tensors."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    if "config.json" in names:
        if TENSORS in names:
            return [TENSORS]
        if SHARDS in names:
            shards = _list_shards(read_json(folder / SHARDS), weights)
            if missing := [name for name in shards if name not in names]:
                raise WeightsError(f"the folder {weights!r} lacks {missing[0]}")
            return shards
    pickled = [name for name in names if name.endswith(PICKLED)]
    hint = (
        f"; {pickled[0]} is not read, since unpickling runs what is in it: save it as safetensors"
        if pickled
        else ""
    )
    raise WeightsError(
        f"the folder {weights!r} holds no encoder: expected config.json and {TENSORS}, found "
        f"{', '.join(names[:8]) or 'no file'}{hint}"
    )


def _list_shards(index: dict[str, Any], weights: str) -> list[str]:
    places = index.get("weight_map")
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise WeightsError(f"the encoder {weights!r}: its {SHARDS} names no files beside it")
    return names


def _load(folder: Path, weights: str) -> Any:
    """The model in evaluation mode, in float32, with all tensors that features depend on."""
    config = _make_config(read_json(folder / "config.json"), weights)
    model = _find_class(config, weights)
    try:
        with _quiet():
            tower, found = model.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # transformers, safetensors and torch refuse in ways of their own
        raise WeightsError(
            f"the encoder {weights!r} cannot be read: {explain_failure(error):.300}"
        ) from error
    missing = sorted(
        name for name in found["missing_keys"] if not set(name.split(".")) & set(UNUSED)
    )
    if missing:
        raise WeightsError(
            f"the encoder {weights!r}: its files lack {len(missing)} tensors that its config.json "
            f"asks for, such as {missing[0]}"
        )
    return tower


def _make_config(described: dict[str, Any], weights: str) -> Any:
    """transformers' configuration of what looks at pictures."""
    from transformers import CONFIG_MAPPING

    kind = described.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise WeightsError(
            f"the encoder {weights!r} is of the type {kind!r}, which the transformers installed "
            f"here does not know (code that comes with weights is not run)"
        )
    try:
        with _quiet():
            config: Any = CONFIG_MAPPING[kind].from_dict(_drop_foreign(described))
    except Exception as error:
        raise WeightsError(
            f"the encoder {weights!r}: its config.json makes no {kind!r}: {explain_failure(error)}"
        ) from error
    return getattr(config, "vision_config", None) or config


def _drop_foreign(described: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what would have other code run, in any of its parts."""
    return {
        name: _drop_foreign(value) if isinstance(value, dict) else value
        for name, value in described.items()
        if name not in FOREIGN and not name.startswith("_")
    }


def _find_class(config: Any, weights: str) -> Any:
    """The class of transformers that AutoModel would take."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name: Any = MODEL_MAPPING_NAMES.get(config.model_type)
    model = getattr(transformers, name, None) if isinstance(name, str) else None
    if getattr(model, "main_input_name", None) != "pixel_values" or hasattr(config, "backbone"):
        raise WeightsError(
            f"{weights!r} is a {config.model_type!r} model, which is no encoder of pictures: give "
            f"one such as DINOv2, CLIP, Swin or ConvNeXt with `{OPTION}`"
        )
    return model


def _as_number(value: Any) -> int:
    """A side in px, of a number or of two that are equal; 0 where there is none."""
    if isinstance(value, list | tuple):
        value = value[0] if len(set(value)) == 1 else None
    return value if isinstance(value, int) else 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers tells of tensors that are not needed, and its progress bars."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
