"""A scene as one word of a command line: see `bandweave.data.scene_argument`."""

from bandweave.data.scene_argument import scene_from

__all__ = ["scene_from"]
