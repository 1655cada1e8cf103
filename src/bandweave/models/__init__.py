"""The models by name. A preset is a model with other values in its config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import nn

from bandweave.errors import ConfigError
from bandweave.models.calc import CALC, CALCConfig
from bandweave.models.cf_ipt import CFIPT, CFIPTConfig
from bandweave.models.cnn2d import CNN2D, CNN2DConfig
from bandweave.models.cnn3d import CNN3D, CNN3DConfig
from bandweave.models.contract import LandCoverModel, SharpeningModel
from bandweave.models.dualmamba import DualMamba, DualMambaConfig
from bandweave.models.exvit import ExViT, ExViTConfig
from bandweave.models.hct import HCT, HCTConfig
from bandweave.models.hybridsn import HybridSN, HybridSNConfig
from bandweave.models.linear_probe import LinearProbe, LinearProbeConfig
from bandweave.models.m3amba import M3amba, M3ambaConfig
from bandweave.models.mambahsi import MambaHSI, MambaHSIConfig
from bandweave.models.mambamoe import MambaMoE, MambaMoEConfig
from bandweave.models.mft import MFT, MFTConfig
from bandweave.models.mim import MiM, MiMConfig
from bandweave.models.mmmamba import MMMamba, MMMambaConfig
from bandweave.models.msfmamba import MSFMamba, MSFMambaConfig
from bandweave.models.panmamba import PanMamba, PanMambaConfig
from bandweave.models.s2mamba import S2Mamba, S2MambaConfig
from bandweave.models.ssmamba import SSMamba, SSMambaConfig
from bandweave.models.uacl import UACL, UACLConfig
from bandweave.models.unet import UNet, UNetConfig
from bandweave.nn.clip.encoder import ClipConfig
from bandweave.nn.clip.prompted import PromptedClipConfig
from bandweave.schema import nearest

M = TypeVar("M", bound=nn.Module)
P = TypeVar("P")


@dataclass(frozen=True)
class Preset(Generic[M]):
    """A model, its config, and the training options that suit its size.

    about           what it is, in a line
    components      principal components that the first layer is reduced to where it has more
                    bands; 0: bands as they are
    samples, train  values of the sample and training options that differ from their defaults
    """

    model: Callable[..., M]
    config: Any
    about: str = ""
    components: int = 0
    samples: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The values by section."""
        return {"samples": self.samples, "train": self.train}


DEFAULT_MODEL = "m3amba_small"  # of land cover: a laptop trains it in minutes

SCALED: dict[str, Any] = {"crop": 16, "batch": 16, "scales": [1.0, 1.5, 2.0, 4.0]}
IN_TIME: dict[str, Any] = {"schedule": "constant", "ema": 0.999, "hold_out": 0.2}

LAND_COVER: dict[str, Preset[LandCoverModel]] = {
    "m3amba": Preset(
        M3amba,
        M3ambaConfig(),
        about="M³amba as in its paper: CLIP with adapters steers the scans of each layer",
    ),
    "m3amba_small": Preset(
        M3amba,
        M3ambaConfig(
            width=64, depth=3, state=4, mlp_ratio=2.0, average="rate", clip=ClipConfig(mode="none")
        ),
        about="M³amba, 64 wide and 3 deep, without CLIP (scheme A of its paper)",
        samples=SCALED,
        train={"lr": 2e-3, "weight_decay": 1e-2, "steps": 600, **IN_TIME},
    ),
    "m3amba_tiny": Preset(
        M3amba,
        M3ambaConfig(
            width=32, depth=2, state=4, mlp_ratio=2.0, average="rate", clip=ClipConfig(mode="none")
        ),
        about="M³amba, 32 wide and 2 deep, without CLIP: for demos and tests",
        samples=SCALED,
        train={"lr": 2e-3, "weight_decay": 1e-2, "steps": 600, **IN_TIME},
    ),
    "mambamoe": Preset(
        MambaMoE,
        MambaMoEConfig(),
        about="MambaMoE as in its paper: whole scenes, by experts that scan one way each",
        samples={"crop": 0, "batch": 1},
        train={
            "lr": 5e-4,
            "weight_decay": 0.0,
            "warmup": 0.0,
            "schedule": "poly",
            "clip": 10.0,
            "steps": 200,
        },
    ),
    "mambamoe_small": Preset(
        MambaMoE,
        MambaMoEConfig(
            width=32, class_balance=0.5, dropout=0.2, drop_path=0.1, label_smoothing=0.05
        ),
        about="MambaMoE, 32 wide, with what helps it on few labels",
        samples={"crop": 0, "batch": 1, "fill": 4096},
        train={"lr": 4e-3, "weight_decay": 1e-2, "clip": 10.0, "steps": 400, **IN_TIME},
    ),
    "mambamoe_tiny": Preset(
        MambaMoE,
        MambaMoEConfig(width=16, mlp_ratio=2.0),
        about="MambaMoE, 16 wide: for demos and tests",
        samples={"crop": 0, "batch": 1, "fill": 4096},
        train={"lr": 5e-3, "weight_decay": 1e-2, "clip": 10.0, "steps": 200, **IN_TIME},
    ),
    "cf_ipt": Preset(
        CFIPT,
        CFIPTConfig(),
        components=30,
        about="CF-IPT as in its paper: patches of 7 px through a frozen CLIP with prompts",
        samples={"crop": 7, "batch": 64},
        train={"lr": 5e-4, "weight_decay": 1e-2, "steps": 2_500},  # 100 epochs of 40 × 15 classes
    ),
    "cf_ipt_small": Preset(
        CFIPT,
        CFIPTConfig(patch=3, width=64, clip=PromptedClipConfig(weights="embedded")),
        about="CF-IPT, patches of 3 px, with the small CLIP that comes along",
        samples={"crop": 3, "batch": 32},
        train={"lr": 1e-2, "weight_decay": 1e-2, "steps": 800},
    ),
    "cf_ipt_tiny": Preset(
        CFIPT,
        CFIPTConfig(
            patch=3,
            width=16,
            state=4,
            prompts=2,
            clip=PromptedClipConfig(weights="embedded"),
        ),
        about="CF-IPT, 16 wide, with the small CLIP that comes along: for demos and tests",
        samples={"crop": 3, "batch": 32},
        train={"lr": 5e-3, "weight_decay": 1e-2, "steps": 100},
    ),
    "s2mamba": Preset(
        S2Mamba,
        S2MambaConfig(),
        about="S²Mamba as in its release: a scan over a patch, and one over its hidden channels",
        samples={"crop": 9, "batch": 64},
        train={  # 100 epochs of Houston's 2,832 pixels
            "lr": 1e-4,
            "weight_decay": 5e-3,
            "warmup": 0.0,
            "clip": 0.0,
            "steps": 4_400,
        },
    ),
    "ssmamba": Preset(
        SSMamba,
        SSMambaConfig(),
        about="SS-Mamba as in its release: scans over spatial and over spectral tokens of a patch",
        samples={"crop": 27, "batch": 300},
        train={  # 190 epochs of 20 pixels of each of Houston's 15 classes, in one batch
            "lr": 5e-4,
            "weight_decay": 1e-4,
            "warmup": 0.0,
            "clip": 0.0,
            "steps": 190,
        },
    ),
    "dualmamba": Preset(
        DualMamba,
        DualMambaConfig(),
        about="DualMamba as in its release: light scans of a patch beside convolutions",
        samples={"crop": 7, "batch": 64},
        train={  # 300 epochs of a tenth of Indian Pines, 1,025 pixels
            "lr": 1e-3,
            "weight_decay": 1e-2,
            "warmup": 0.0,
            "clip": 0.0,
            "steps": 4_800,
        },
    ),
    "msfmamba": Preset(
        MSFMamba,
        MSFMambaConfig(),
        components=30,
        about="MSFMamba as in its release: scans of two scales, the spectrum and across sources",
        samples={"crop": 11, "batch": 128},
        train={  # 40 epochs of Houston's 2,832 pixels
            "lr": 1e-4,
            "weight_decay": 0.0,
            "warmup": 0.0,
            "clip": 0.0,
            "steps": 920,
        },
    ),
    "mambahsi": Preset(
        MambaHSI,
        MambaHSIConfig(),
        about="MambaHSI as in its release: whole scenes, by scans over pixels and over channels",
        samples={"crop": 0, "batch": 1},
        train={  # Adam, at one rate; a step a half of the scene in 200 epochs
            "lr": 3e-4,
            "weight_decay": 0.0,
            "warmup": 0.0,
            "clip": 0.0,
            "steps": 400,
        },
    ),
    "unet": Preset(
        UNet,
        UNetConfig(),
        about="a small, plain U-Net on crops",
        samples={"crop": 32, "batch": 16},
        train={"lr": 1e-3, "weight_decay": 1e-2, "steps": 500},
    ),
    "cnn2d": Preset(
        CNN2D,
        CNN2DConfig(),
        about="a plain convolutional network on patches of 9 px",
        samples={"crop": 9, "batch": 64},
        train={"lr": 1e-3, "weight_decay": 1e-2, "steps": 1_000},
    ),
    "cnn3d": Preset(
        CNN3D,
        CNN3DConfig(),
        about="convolutions over bands and pixels of patches of 7 px",
        samples={"crop": 7, "batch": 64},
        train={"lr": 1e-3, "weight_decay": 1e-2, "steps": 1_000},
    ),
    "hybridsn": Preset(
        HybridSN,
        HybridSNConfig(),
        about="HybridSN as in its paper: 3-D and 2-D convolutions on patches of 25 px",
        components=30,
        samples={"crop": 25, "batch": 256},
        train={"lr": 1e-3, "weight_decay": 1e-6, "steps": 1_200},  # 100 epochs of 3,000 pixels
    ),
    "mft": Preset(
        MFT,
        MFTConfig(),
        about="MFT as in its paper: patches of 11 px, the second source is the class token",
        samples={"crop": 11, "batch": 64},
        train={"lr": 5e-4, "weight_decay": 5e-3, "clip": 0.0, "steps": 4_000},
    ),
    "exvit": Preset(
        ExViT,
        ExViTConfig(),
        about="ExViT as in its release: patches of 13 px, a token a pixel of each source",
        samples={"crop": 13, "batch": 64},
        train={"lr": 5e-4, "weight_decay": 0.0, "clip": 0.0, "steps": 4_000},
    ),
    "hct": Preset(
        HCT,
        HCTConfig(),
        about="HCT as in its release: patches of 11 px, class tokens that ask the other source's",
        components=30,
        samples={"crop": 11, "batch": 64},
        train={"lr": 1e-3, "weight_decay": 0.0, "clip": 0.0, "steps": 2_500},
    ),
    "mim": Preset(
        MiM,
        MiMConfig(),
        about="MiM: scans along four paths through a patch that end at its middle",
        components=60,
        samples={"crop": 9, "batch": 64},
        train={  # 200 epochs of Indian Pines' 695 pixels
            "lr": 5e-4,
            "weight_decay": 1e-2,
            "warmup": 0.0,
            "clip": 0.0,
            "steps": 2_200,
        },
    ),
    "linear_probe": Preset(
        LinearProbe,
        LinearProbeConfig(),
        about="a linear layer on a frozen image encoder: by itself, that of the small CLIP",
        samples={"crop": 16, "batch": 16},
        train={"lr": 2e-3, "weight_decay": 1e-2, "steps": 500},
    ),
    "calc": Preset(
        CALC,
        CALCConfig(),
        about="CALC as in its release: two sources, redrawn against discriminators in training",
        samples={"crop": 16, "batch": 64},
        train={  # 250 epochs of 20 × 15 classes
            "lr": 1e-3,
            "weight_decay": 0.0,
            "clip": 0.0,
            "steps": 1_250,
        },
    ),
    "uacl": Preset(
        UACL,
        UACLConfig(),
        about="UACL as released, with the scene's unlabelled pixels besides those of training",
        samples={"crop": 16, "batch": 64, "unlabelled": 1},
        train={"lr": 5e-4, "weight_decay": 0.0, "clip": 0.0, "steps": 3_000},  # 8,400 as released
    ),
}

SHARPENERS: dict[str, Preset[SharpeningModel]] = {  # patch: pixels of the MS image, along each side
    "mmmamba": Preset(
        MMMamba,
        MMMambaConfig(),
        about="MMMamba as in its paper",
        samples={"patch": 32, "batch": 4},
        train={"lr": 5e-4, "weight_decay": 0.0, "clip": 4.0, "steps": 50_000},
    ),
    "mmmamba_small": Preset(
        MMMamba,
        MMMambaConfig(
            width=16, depth=2, residuals=1, state=4, expand=1.5, mlp_ratio=2.0, attention_width=8
        ),
        about="MMMamba, 16 wide and 2 deep",
        samples={"patch": 32, "batch": 4},
        train={"lr": 3e-3, "weight_decay": 0.0, "clip": 4.0, "steps": 2_500},
    ),
    "mmmamba_tiny": Preset(
        MMMamba,
        MMMambaConfig(
            width=8, depth=1, residuals=1, state=2, expand=1.0, mlp_ratio=2.0, attention_width=8
        ),
        about="MMMamba, 8 wide and 1 deep: for demos and tests",
        samples={"patch": 8, "batch": 4},
        train={"lr": 5e-3, "weight_decay": 0.0, "clip": 4.0, "steps": 200},
    ),
    "panmamba": Preset(
        PanMamba,
        PanMambaConfig(),
        about="Pan-Mamba: Mamba layers over rows, whose streams swap channels and meet",
        samples={"patch": 32, "batch": 4},
        train={"lr": 5e-4, "weight_decay": 0.0, "clip": 4.0, "steps": 50_000},
    ),
}


def find_preset(name: object, presets: Mapping[str, P]) -> P:
    """The preset of that name. Raises ConfigError with the nearest right one."""
    if not isinstance(name, str) or name not in presets:
        raise ConfigError(f"there is no model {name!r}{nearest(str(name), presets)}")
    return presets[name]


def describe_presets(presets: Mapping[str, Preset[Any]]) -> str:
    """A line on each preset: its name and what it is."""
    width = max(map(len, presets))
    return "\n".join(f"  {name:<{width}}  {preset.about}" for name, preset in presets.items())
