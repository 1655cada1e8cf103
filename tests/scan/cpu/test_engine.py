"""What only compiled kernels can get wrong: threads, forks, numbers at the edge, stale code."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from bandweave.scan import cross_order, selective_scan
from bandweave.scan.cpu import cache, engine, threads


@pytest.fixture
def on_threads(monkeypatch):
    """on_threads(n): scans use n threads however little there is to do."""
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("states", "pair"), [(1, False), (8, False), (1, True), (8, True)])
def test_the_same_bits_on_any_number_of_threads(
    make_inputs, run_scan, on_threads, batch, states, pair
):
    inputs = make_inputs(batch, 130, 40, states, pair=pair, softplus=True)
    order = cross_order(13, 10)
    answers = []
    for count in (1, 2, 3):
        on_threads(count)
        answers.append(run_scan("numba", inputs, order))
        assert torch.get_num_threads() == count
    for name, value in answers[0].items():
        assert torch.equal(value, answers[1][name]), name
        assert torch.equal(value, answers[2][name]), name


@pytest.mark.parametrize("states", [1, 4])
def test_two_python_threads_at_once(make_inputs, run_scan, on_threads, states):
    on_threads(2)
    many = [make_inputs(2, 200, 20, states, seed=seed) for seed in range(4)]
    order = cross_order(20, 10)
    alone = [run_scan("numba", inputs, order)["y"] for inputs in many]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(selective_scan, **inputs, order=order) for inputs in many * 10]
    for job, expected in zip(jobs, alone * 10, strict=True):
        assert torch.equal(job.result(), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_scans_too(make_inputs, monkeypatch, on_threads):
    on_threads(2)
    inputs, order = make_inputs(4, 130, 20, 4), cross_order(13, 10)
    monkeypatch.setenv("BANDWEAVE_SCAN", "numba")
    expected = selective_scan(**inputs, order=order)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def work():
        answers.put(torch.equal(selective_scan(**inputs, order=order), expected))

    child = context.Process(target=work, daemon=True)
    child.start()
    assert answers.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0


@pytest.mark.parametrize("states", [1, 4])
@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "delta2", "A2"])
def test_what_is_not_a_number_stays_visible(make_inputs, run_scan, states, name):
    inputs = make_inputs(1, 70, 20, states, 1, pair=True)
    clean = run_scan("numba", inputs)["y"]
    spoiled = {**inputs, name: inputs[name].clone()}
    at = (0, 40, 18) if name == "u" else (0, 0, 40, 0)
    if name in ("A", "A2"):
        at = (0, 18, 0)
    spoiled[name][at] = torch.nan
    y = run_scan("numba", spoiled)["y"]
    bad = y.isnan()
    assert bad.any()
    reference = run_scan("reference", spoiled)["y"].isnan()
    assert torch.equal(bad, reference)
    assert torch.equal(y[~bad], clean[~bad])


@pytest.mark.parametrize("states", [1, 4])
def test_decays_saturate(make_inputs, run_scan, states):
    inputs = make_inputs(1, 40, 2, states, 1)
    inputs["delta"][:] = torch.tensor([1e-30, 1e6])
    inputs["A"][:] = -1e3
    answers = run_scan("numba", inputs)
    truth = run_scan("reference", inputs, dtype=torch.float64)
    for name in ("y", "u", "delta", "A", "B", "C"):
        assert answers[name].isfinite().all(), name
    torch.testing.assert_close(answers["y"].double(), truth["y"], rtol=1e-5, atol=1e-5)


def test_growth_overflows_to_infinity_not_to_nonsense(make_inputs, run_scan):
    inputs = make_inputs(1, 3, 1, 1, 1)
    for name in ("u", "delta", "B", "C"):
        inputs[name][:] = 1
    inputs["A"][:] = 200
    inputs["D"][:] = 0
    first, second, third = run_scan("numba", inputs)["y"].flatten().tolist()
    assert first == 1  # a decay of infinity times the first state, 0, would be no number
    assert second > 2e38
    assert third == torch.inf


def test_states_are_kept_for_a_backward_pass_alone(make_inputs, run_scan, monkeypatch):
    kept = []

    def spy(kernel, tasks, work, *arguments):
        kept.append(arguments[-2].size)
        return threads.run_tasks(kernel, tasks, work, *arguments)

    inputs = make_inputs()
    u = inputs.pop("u").requires_grad_()
    monkeypatch.setenv("BANDWEAVE_SCAN", "numba")
    monkeypatch.setattr(engine, "run_tasks", spy)
    selective_scan(u, **inputs)
    with torch.no_grad():
        selective_scan(u, **inputs)
    assert kept[0] > 0
    assert kept[1] == 0


def test_compiled_code_is_keyed_on_every_kernel_source(tmp_path, monkeypatch):
    sources = set(cache.SOURCES)
    folder = os.path.dirname(cache.__file__)
    around = {"__init__.py", "engine.py", "lifted_engine.py", "threads.py", "workspace.py"}
    there = {name for name in os.listdir(folder) if name.endswith(".py")}
    assert sources == there - around
    for name in sources:
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    cache.source_hash.cache_clear()
    before = cache.source_hash()
    (tmp_path / "lanes.py").write_text("changed")
    cache.source_hash.cache_clear()
    assert cache.source_hash() != before
    monkeypatch.undo()
    cache.source_hash.cache_clear()


def test_two_processes_that_compile_at_once_keep_their_own_kernels(tmp_path, monkeypatch):
    """The second begins before the first is done: both see an empty index."""
    first, second = (cache._NamedByKey(str(tmp_path), "kernel", "stamp") for _ in range(2))
    save_index = first._save_index

    def interrupted(overloads):
        save_index(overloads)
        second.save("a pair", "code of a pair")

    monkeypatch.setattr(first, "_save_index", interrupted)
    monkeypatch.setattr(second, "_load_index", dict)
    first.save("single", "code of a single")
    assert cache._NamedByKey(str(tmp_path), "kernel", "stamp").load("a pair") == "code of a pair"


def test_a_second_process_loads_the_kernels(make_inputs, run_scan):
    run_scan("numba", make_inputs(states=1))
    script = (
        "import torch\n"
        "from bandweave.scan import selective_scan\n"
        "u, d = torch.ones(1, 3, 1), torch.ones(1, 1, 3, 1)\n"
        "selective_scan(u, d, -d[0, :, :1], d, d, d[0, 0, :1])\n"
        "from bandweave.scan.cpu.single_state import forward_single_tasks\n"
        "print(sum(forward_single_tasks.stats.cache_hits.values()))\n"
    )
    environment = {**os.environ, "BANDWEAVE_SCAN": "numba"}
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert told.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("cores", "batch", "channels", "states", "expected"),
    [
        (2, 8, 96, 16, (8, 6)),  # an item a task, as wide as it goes
        (2, 1, 96, 16, (2, 3)),  # one item on both cores
        (2, 3, 96, 16, (6, 3)),  # three items: halves are shared better
        (16, 1, 96, 16, (6, 1)),
        (2, 8, 192, 16, (16, 6)),  # no wider than a block may be
        (2, 8, 192, 1, (8, 12)),
        (1, 1, 17, 1, (1, 2)),
        (2, 5, 1, 4, (5, 1)),
    ],
)
def test_tasks_are_as_many_as_the_cores_finish_first(
    monkeypatch, cores, batch, channels, states, expected
):
    monkeypatch.setattr(engine, "CORES", cores)
    assert engine._plan_tasks(batch, channels, states) == expected
