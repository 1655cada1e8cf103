"""The contract of a model: all that training, mapping and scoring ask of it.

Letters in shapes:

    B       samples that go through the model together
    C, K    bands of a layer; classes
    H, W    pixels of the grid, along rows and columns
    r, R    how many times finer than the grid a layer is; how many times finer the labels are

A model of one's own is a subclass that says what is abstract here, and a row in the table of
presets (models/__init__.py). What only some models can do has a default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Literal, get_args

from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.nn.output import Output, Sharpened

Feed = Literal["crops", "pixels", "scene"]
ZeroShot = Literal["ms stream", "ms twice", "ms as pan"]
Corner = tuple[float, float]


class TrainedModel(nn.Module, ABC):
    """What training and runs ask of a model, whatever its task."""

    unused_parameters: bool = False
    """Whether a training step may leave some parameters without a gradient."""

    def upgrade(
        self, tensors: Mapping[str, Tensor], origin: object = "the weights"
    ) -> dict[str, Tensor]:
        """Weights that an earlier version of the model wrote, as this one has them.

        By default they are as they were. Raises RunError, which names their origin, where this
        version cannot use them.
        """
        return dict(tensors)


class LandCoverModel(TrainedModel):
    """A model that gives every pixel a class. It is made as

        Model(bands, classes, config, ratios=None, output_ratio=1)

    bands         bands of each layer, by its name
    classes       names, in the order of the logits
    config        a dataclass, whose defaults are the paper's
    ratios        r of each layer; 1 where none is named
    output_ratio  R

    and raises ConfigError for layers or ratios that it cannot take.
    """

    fed: Feed = "crops"
    """What it learns from and maps with: 'crops', windows of one size whose answers are blended;
    'pixels', a patch around each pixel; 'scene', whole parts where they fit."""

    training_only: tuple[str, ...] = ()
    """Names of its modules that only training uses: a run neither keeps nor counts them."""

    output_ratio: int
    """R, as the model was made with."""

    @abstractmethod
    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Layers (B, C, H·r, W·r) to logits (B, K, H·R, W·R), and with labels to the loss.

        labels  (B, H·R, W·R) int64: class indices, IGNORED (no label), or HIDDEN (no data,
                padding, or not to be learnt from in any loss)

        Of a model that is fed with pixels the logits are (B, K, R, R): those of the pixel in row
        and column ⌊side / 2⌋ of the patch.
        """

    @abstractmethod
    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away from a pixel and change its class.

        window  side of what goes into the model at once, in pixels of the grid
        """

    def prepare(
        self, first_layers: Callable[[], Mapping[str, Tensor]], reduced: Container[str]
    ) -> None:
        """Fit what is fitted once, before training. By default there is nothing.

        first_layers  gives layers (B, C, h, w) of the first training samples, the same in every
                      process
        reduced       names of the layers whose bands are principal components
        """

    def begin_step(self, done: float) -> None:
        """Be told before each training step what share of the steps is done, 0 to below 1."""

    def conclude(self, samples: Iterable[tuple[Mapping[str, Tensor], Tensor]]) -> None:
        """Fit what is fitted to trained weights: before each validation, and at the end.

        samples  layers and labels of training samples, as they are in the scene; asked of models
                 that are fed with pixels, of at most some hundred pixels of each class

        It is called in one process of several. By default there is nothing.
        """

    @property
    def patch_side(self) -> int | None:
        """Side in px of the patches that it is made for, if it cuts or pads others."""
        return None

    @property
    def window_step(self) -> int:
        """Pixels of the grid at whose multiples windows begin, so that they are cut as a scene is.

        Asked of models that are fed with scenes.
        """
        return 1

    @property
    def bytes_per_pixel(self) -> int:
        """About what a pixel of the grid takes in memory.

        Of a model that is fed with scenes: while a part goes through at once. Of one that is fed
        with pixels: what `pixels` keeps of it.
        """
        return 4096

    def pixels(self, layers: Mapping[str, Tensor]) -> Tensor | None:
        """The part of the answer that depends on single pixels: (B, C, H·r, W·r) to (B, H, W, F).

        A part then goes through this once, in place of once for each patch that holds a pixel. None
        for a model that makes nothing of single pixels. Asked of models that are fed with pixels.
        """
        return None

    def classify(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of the middle pixels of patches (B, h, w, F) of what `pixels` gave."""
        raise NotImplementedError(f"{type(self).__name__} has `pixels` and no `classify`")


class SharpeningModel(TrainedModel):
    """A model that makes a multispectral image (MS) as fine as a panchromatic one (PAN).

    It is made as Model(bands, config, ratio): the bands of MS, and PAN pixels an MS pixel is wide.
    """

    zero_shots: tuple[ZeroShot, ...] = get_args(ZeroShot)
    """What can stand in for PAN; the first is the default."""

    remembered: int = 32
    """PAN pixels beyond `local_reach` beside a tile in which what a scan carries fades."""

    @property
    @abstractmethod
    def local_reach(self) -> int:
        """PAN pixels that convolutions and interpolation look to each side."""

    @property
    def tile_step(self) -> int:
        """PAN pixels at whose multiples tiles begin, so that they are cut as a scene is."""
        return 1

    @abstractmethod
    def forward(
        self,
        ms: Tensor,
        pan: Tensor | None = None,
        target: Tensor | None = None,
        corner: Corner | None = None,
    ) -> Sharpened:
        """MS (B, C, h, w) and PAN (B, 1, H, W) to an image (B, C, H, W), and to the loss.

        pan     None: as `super_resolve`
        target  (B, C, H, W): the image to learn; what is not finite in it teaches nothing
        corner  PAN pixels (row, column) where MS begins; None: where PAN does

        Raises GridMismatch for sizes that do not belong together.
        """

    @abstractmethod
    def super_resolve(
        self, ms: Tensor, zero_shot: ZeroShot | None = None, target: Tensor | None = None
    ) -> Sharpened:
        """MS (B, C, h, w) alone to an image `ratio` times finer.

        zero_shot  what stands in for PAN, one of `zero_shots`; None: the first of them
        """

    @classmethod
    def check_zero_shot(cls, way: str) -> None:
        """Raise ConfigError for a way to do without PAN that the model does not have."""
        if way not in cls.zero_shots:
            less = set(get_args(ZeroShot)) - set(cls.zero_shots)
            why = f": {cls.__name__} cannot leave PAN's stream out" if less else ""
            ways = ", ".join(cls.zero_shots)
            raise ConfigError(f"zero_shot is {way!r}; it is one of {ways}{why}")
