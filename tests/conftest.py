"""Tiny georeferenced files, made in the test that needs them."""

from __future__ import annotations

import gc
import importlib.util
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, settings
from rasterio.transform import Affine

# How long an example takes says how busy the machine is: the first call of a kernel compiles it.
settings.register_profile(
    "any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("any_machine")

# A CLIP of random weights is one file, imported by the tests of several folders.
_spec = importlib.util.spec_from_file_location(
    "tiny_clip", Path(__file__).with_name("tiny_clip.py")
)
assert _spec is not None
assert _spec.loader is not None
sys.modules["tiny_clip"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["tiny_clip"])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the kernels of the scan, and spare the garbage collector what stays.

    That is a million objects, of modules and of tests: half a second in every full collection.
    """
    if len(session.items) > 1000:  # else some files, perhaps without a scan
        _compile_share(os.environ.get("PYTEST_XDIST_WORKER", ""))
    gc.collect()
    gc.freeze()


def _compile_share(worker: str) -> None:
    """Let the first two of several processes compile the kernels of the scan between them.

    That takes either a quarter of a minute where none is on disk yet, and where one process needs
    a kernel that another one compiles at that moment, both would compile it.
    """
    shares = {"gw0": [(1, False), (1, True), (2, False)], "gw1": [(4, False), (4, True)]}
    if worker not in shares:
        return
    import torch

    from bandweave.scan import selective_scan

    for N, pair in shares[worker]:
        u = torch.zeros(1, 2, 3, requires_grad=True)
        delta, A, B = torch.zeros(1, 1, 2, 3), torch.zeros(1, 3, N), torch.zeros(1, 1, 2, N)
        second = {"delta2": delta, "A2": A} if pair else {}
        selective_scan(u, delta, A, B, B, torch.zeros(1, 3), **second).sum().backward()


UTM = "EPSG:32617"
CORNER = (500_000.0, 4_000_000.0)


def north_up(pixel: float = 1.0, left: float = CORNER[0], top: float = CORNER[1]) -> Affine:
    """A transform in metres."""
    return Affine(pixel, 0, left, 0, -pixel, top)


def _write_geotiff(
    path: Path,
    array: np.ndarray,
    transform: Affine | None = None,
    crs: str | None = UTM,
    nodata: float | None = None,
    names: list[str] | None = None,
    scales: list[float] | None = None,
    offsets: list[float] | None = None,
    **profile: Any,
) -> Path:
    array = array[None] if array.ndim == 2 else array
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"photometric": "MINISBLACK"} | profile
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=array.shape[1],
        width=array.shape[2],
        count=array.shape[0],
        dtype=array.dtype,
        transform=north_up() if transform is None else transform,
        crs=crs,
        nodata=nodata,
        **profile,
    ) as dataset:
        dataset.write(array)
        if names:
            dataset.descriptions = names
        if scales:
            dataset.scales = scales
        if offsets:
            dataset.offsets = offsets
    return path


def _write_envi(
    path: Path,
    array: np.ndarray,
    wavelengths: list[float] | None = None,
    unit: str = "Nanometers",
    interleave: str = "bsq",
    extra: str = "",
) -> Path:
    """Write `path` (the header) and its data file; array is (bands, H, W)."""
    codes = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5, "uint16": 12}
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    lines = [
        "ENVI",
        f"samples = {array.shape[2]}",
        f"lines = {array.shape[1]}",
        f"bands = {array.shape[0]}",
        "header offset = 0",
        "file type = ENVI Standard",
        f"data type = {codes[array.dtype.name]}",
        f"interleave = {interleave}",
        "byte order = 0",
    ]
    if wavelengths:
        lines += [f"wavelength units = {unit}", f"wavelength = {{{str(wavelengths)[1:-1]}}}"]
    path.write_text("\n".join([*lines, extra]) + "\n")
    array.transpose(order).astype(array.dtype.newbyteorder("<")).tofile(path.with_suffix(".img"))
    return path


def _write_mat73(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A MATLAB 7.3 file: HDF5 behind MATLAB's header, axes stored the other way round."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            stored = file.create_dataset(name, data=np.ascontiguousarray(array.T))
            stored.attrs["MATLAB_class"] = np.bytes_(array.dtype.name)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


# Processes ---------------------------------------------------------------------------------------


class Begun:
    """A process that a test began: a session of its own, with its children."""

    def __init__(self, process: Any) -> None:
        self.process, self.pid = process, process.pid

    def wait(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal; None where it still runs after `seconds`."""
        self.process.join(seconds)
        return self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send a signal: Ctrl-C reaches all processes of a terminal, others the first one."""
        (os.killpg if number == signal.SIGINT else os.kill)(self.pid, number)


@pytest.fixture(scope="session")
def fork_server() -> BaseContext:
    """Processes that are forked from one that has imported what takes seconds, and done nothing."""
    used = ["lightning_fabric", "torch._dynamo", "sklearn.neighbors", "numba", "jsonargparse"]
    used += [f"bandweave.{task}.comparison.cell" for task in ("landcover", "pansharp")]
    multiprocessing.set_forkserver_preload(used)
    return multiprocessing.get_context("forkserver")


@pytest.fixture(scope="session")
def begin_in(fork_server: BaseContext) -> Callable[..., Begun]:
    """begin_in(folder, "train", …): as `begin`, with its prints in a folder; it is not ended."""

    def run(folder: Path, *words: object, **variables: str) -> Begun:
        outputs = [str(folder / f"begun.{stream}") for stream in ("out", "err")]
        given = {"ARGUMENTS": [str(word) for word in words], "OUTPUTS": outputs}
        given |= {"VARIABLES": variables}
        script = str(Path(__file__).with_name("begun.py"))
        asked = (script, given, "__main__")
        process = fork_server.Process(target=runpy.run_path, args=asked, daemon=False)
        process.start()
        return Begun(process)

    return run


@pytest.fixture
def begin(begin_in: Callable[..., Begun], tmp_path: Path) -> Iterator[Callable[..., Begun]]:
    """begin("train", …): the command in a process of its own; begin("use.py"): a script in one.

    What it prints goes to `begun.out` and `begun.err`, in the test's folder.
    """
    begun: list[Begun] = []

    def run(*words: object) -> Begun:
        begun.append(begin_in(tmp_path, *words))
        return begun[-1]

    yield run
    for process in begun:
        if process.wait(0) is None:
            process.send(signal.SIGKILL)
            process.wait(20)


@pytest.fixture(scope="session")
def run_ranks(
    begin_in: Callable[..., Begun], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., None]:
    """run_ranks("use.py", …): the script in two processes that train together, to their end."""

    def run(*words: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        folders = [tmp_path_factory.mktemp("rank") for _ in range(2)]
        begun = [
            begin_in(folder, *words, **shared, NODE_RANK="0", LOCAL_RANK=str(rank))
            for rank, folder in enumerate(folders)
        ]
        for process, folder in zip(begun, folders, strict=True):
            status = process.wait(120)
            if status is None:
                process.send(signal.SIGKILL)
            assert status == 0, (folder / "begun.err").read_text()[-3000:]

    return run


@pytest.fixture
def write_geotiff(tmp_path: Path) -> Callable[..., Path]:
    """write_geotiff(name, array, transform, crs, nodata, …) -> path, in the test's folder."""
    return lambda name, *rest, **options: _write_geotiff(tmp_path / name, *rest, **options)


@pytest.fixture
def write_envi(tmp_path: Path) -> Callable[..., Path]:
    """write_envi(name.hdr, array, wavelengths, unit, interleave, extra) -> path of the header."""
    return lambda name, *rest, **options: _write_envi(tmp_path / name, *rest, **options)


@pytest.fixture
def write_mat73(tmp_path: Path) -> Callable[..., Path]:
    """write_mat73(name, {key: array}) -> path."""
    return lambda name, arrays: _write_mat73(tmp_path / name, arrays)


class RangeServer:
    """A web server of this machine that gives a folder's files, and ranges of their bytes.

    asked   the paths, and the ranges or None
    sent    bytes of answers
    status  by path, in the place of the file
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.sent, self.status = 0, dict[str, int]()
        kept = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path, span = self.path.partition("?")[0], self.headers.get("Range")
                kept.asked.append((path, span))
                file = folder / path.lstrip("/")
                status = kept.status.get(path, 200 if file.is_file() else 404)
                content = file.read_bytes() if status == 200 else b""
                size = len(content)
                if status == 200 and span:
                    first, _, last = span.removeprefix("bytes=").partition("-")
                    content = content[int(first) : int(last or size - 1) + 1]
                    status = 206 if content else 416
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                if status == 206:
                    end = int(first) + len(content) - 1
                    self.send_header("Content-Range", f"bytes {first}-{end}/{size}")
                self.end_headers()
                if self.command == "GET":
                    kept.sent += len(content)
                    self.wfile.write(content)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.address = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], RangeServer]]:
    """serve(folder): a server of the files in it, which counts what it is asked and sends."""
    servers: list[RangeServer] = []

    def begin(folder: Path) -> RangeServer:
        servers.append(RangeServer(folder))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """real_data("houston2013") -> the folder of real data; skips where there is none."""

    def folder(name: str) -> Path:
        root = os.environ.get("BANDWEAVE_DATA")
        if not root:
            pytest.skip("BANDWEAVE_DATA names no folder of real data")
        if not (Path(root) / name).is_dir():
            pytest.skip(f"the folder of real data has no {name}")
        return Path(root) / name

    return folder


# CLIP, in both formats that are read ------------------------------------------------------------

WIDTH, LAYERS, HEADS, PATCH, IMAGE, EMBEDDING = 32, 3, 2, 8, 32, 24
TEXT_LAYERS, LENGTH = 2, 12
MERGES = ["a s", "s o", "so i", "soi l</w>", "r o", "ro o", "roo f</w>"]  # a vocabulary of 521


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A tiny CLIP with random weights and its tokenizer, a folder in transformers' format."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from bandweave.nn.clip.tokenizer import write_vocabulary

    size = 2 * 256 + len(MERGES) + 2
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": TEXT_LAYERS}
    text |= {"num_attention_heads": 2, "vocab_size": size, "projection_dim": EMBEDDING}
    text |= {"bos_token_id": size - 2, "eos_token_id": size - 1, "hidden_act": "gelu"}
    text |= {"max_position_embeddings": LENGTH}
    vision = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": LAYERS}
    vision |= {"num_attention_heads": HEADS, "patch_size": PATCH, "image_size": IMAGE}
    vision |= {"projection_dim": EMBEDDING, "hidden_act": "gelu"}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING))
    for parameter in model.parameters():  # biases and norms are not left at 0 and 1
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("tiny_clip")
    model.save_pretrained(folder)
    write_vocabulary(folder, MERGES)
    return folder


@pytest.fixture(scope="session")
def tiny_openclip(tiny_clip) -> dict[str, Any]:
    """The same weights under OpenCLIP's names."""
    from safetensors.torch import load_file

    return _openclip_state(load_file(tiny_clip / "model.safetensors"))


def _openclip_state(state: dict[str, Any]) -> dict[str, Any]:
    stem, text = "vision_model.", "text_model."
    renamed = {
        "visual.class_embedding": state[stem + "embeddings.class_embedding"],
        "visual.positional_embedding": state[stem + "embeddings.position_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T.contiguous(),
        "visual.conv1.weight": state[stem + "embeddings.patch_embedding.weight"],
        "token_embedding.weight": state[text + "embeddings.token_embedding.weight"],
        "positional_embedding": state[text + "embeddings.position_embedding.weight"],
        "text_projection": state["text_projection.weight"].T.contiguous(),
        "logit_scale": state["logit_scale"],
    }
    for leaf in ("weight", "bias"):
        renamed[f"visual.ln_pre.{leaf}"] = state[f"{stem}pre_layrnorm.{leaf}"]
        renamed[f"visual.ln_post.{leaf}"] = state[f"{stem}post_layernorm.{leaf}"]
        renamed[f"ln_final.{leaf}"] = state[f"{text}final_layer_norm.{leaf}"]
        for n in range(LAYERS):
            renamed |= _openclip_layer(state, f"{stem}encoder.layers.{n}", f"visual.{n}", leaf)
        for n in range(TEXT_LAYERS):
            renamed |= _openclip_layer(state, f"{text}encoder.layers.{n}", str(n), leaf)
    return renamed


def _openclip_layer(state: dict[str, Any], layer: str, to: str, leaf: str) -> dict[str, Any]:
    import torch

    prefix, _, number = to.rpartition(".")
    block = f"{prefix and prefix + '.'}transformer.resblocks.{number}"
    attention = [state[f"{layer}.self_attn.{key}_proj.{leaf}"] for key in "qkv"]
    return {
        f"{block}.attn.in_proj_{leaf}": torch.cat(attention),
        f"{block}.attn.out_proj.{leaf}": state[f"{layer}.self_attn.out_proj.{leaf}"],
        f"{block}.ln_1.{leaf}": state[f"{layer}.layer_norm1.{leaf}"],
        f"{block}.ln_2.{leaf}": state[f"{layer}.layer_norm2.{leaf}"],
        f"{block}.mlp.c_fc.{leaf}": state[f"{layer}.mlp.fc1.{leaf}"],
        f"{block}.mlp.c_proj.{leaf}": state[f"{layer}.mlp.fc2.{leaf}"],
    }


@pytest.fixture
def distributed(fork_server, monkeypatch):
    """Dask, its workers forked from one process that has imported what they need."""
    module = pytest.importorskip("distributed")
    import dask

    monkeypatch.setattr("distributed.utils._forkserver_preload_set", True)
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield module
