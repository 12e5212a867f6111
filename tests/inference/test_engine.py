"""Laws of the engine: it returns what the network says of each pixel, once, whatever the windows and batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.inference import engine
from codemae_geo.inference.predictor import Predictor
from codemae_geo.inference.runtimes import Choice, Program
from codemae_geo.inference.runtimes.torch import TorchNetwork
from codemae_geo.progress import Reporter
from codemae_geo.tiling import BLENDS, TilePlan, plan_tiles
from codemae_geo.weights import ArchitectureSpec, InputSpec, ModelContract, class_specs


@dataclass
class Strip:
    data: NDArray[Any]
    valid: NDArray[np.bool_]


@dataclass
class Source:
    """An array in memory that remembers which rows were read."""

    data: NDArray[Any]
    valid: NDArray[np.bool_]
    reads: list[tuple[int, int]] = field(default_factory=list)

    def read_rows(self, row0: int, row1: int) -> Strip:
        self.reads.append((row0, row1))
        return Strip(self.data[:, row0:row1], self.valid[row0:row1])


class Identity:
    channels = 3

    def __init__(self) -> None:
        self.windows = 0

    def __call__(
        self, images: Sequence[NDArray[Any]], valid: Sequence[NDArray[np.bool_]]
    ) -> Iterator[NDArray[np.float32]]:
        for image in images[0]:
            self.windows += 1
            yield image.astype(np.float32)


def collect(
    source: Source, plan: TilePlan, predictor: Any, **options: Any
) -> tuple[NDArray[np.float32], NDArray[np.bool_], engine.EngineStats]:
    scores: list[NDArray[np.float32]] = []
    analysed: list[NDArray[np.bool_]] = []
    rows = 0

    def sink(row: int, strip: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        nonlocal rows
        assert row == rows, "rows leave in order"
        rows += strip.shape[1]
        scores.append(strip.copy())  # it is lent
        analysed.append(mask)

    stats = engine.run([source], plan, predictor, sink, **options)
    return np.concatenate(scores, 1), np.concatenate(analysed), stats


def make(h: int, w: int, seed: int = 0) -> Source:
    random = np.random.default_rng(seed)
    return Source(random.random((3, h, w), np.float32), np.ones((h, w), bool))


@given(st.integers(1, 130), st.integers(1, 130), st.integers(32, 64), st.floats(0, 0.8), st.sampled_from(BLENDS))
@settings(max_examples=50, deadline=None)
def test_the_identity_returns_its_input(h: int, w: int, window: int, overlap: float, blend: Any) -> None:
    source = make(h, w)
    out, analysed, stats = collect(source, plan_tiles(h, w, window, overlap, blend=blend), Identity(), batch=3)
    np.testing.assert_allclose(out, source.data, atol=2e-6)
    assert analysed.all()
    assert stats.skipped == 0


@pytest.mark.parametrize(("h", "w"), [(1, 1), (257, 129), (65, 64), (31, 200)])
def test_every_row_is_read_once(h: int, w: int) -> None:
    source = make(h, w)
    collect(source, plan_tiles(h, w, 64, 0.5), Identity())
    ends = [0, *(end for _, end in source.reads)]
    assert [first for first, _ in source.reads] == ends[:-1]
    assert ends[-1] == h


@given(st.integers(1, 200), st.integers(32, 64), st.floats(0, 0.8), st.sampled_from(BLENDS), st.data())
@settings(max_examples=40, deadline=None)
def test_going_on_from_finished_rows_gives_the_same_bits(
    h: int, window: int, overlap: float, blend: Any, data: st.DataObject
) -> None:
    plan = plan_tiles(h, 70, window, overlap, blend=blend)
    whole, mask, stats = collect(make(h, 70), plan, Identity())
    ends = [plan.finished(i) for i in range(len(plan.row_starts))]
    done = data.draw(st.sampled_from([0, *ends]))
    parts: list[tuple[int, NDArray[np.float32], NDArray[np.bool_]]] = []
    source = make(h, 70)
    rest = engine.run(
        [source], plan, Identity(), lambda row, scores, seen: parts.append((row, scores.copy(), seen)), done=done
    )
    assert [row for row, _, _ in parts] == [end for end in (0, *ends) if done <= end < h]
    if done < h:
        np.testing.assert_array_equal(np.concatenate([scores for _, scores, _ in parts], 1), whole[:, done:])
        np.testing.assert_array_equal(np.concatenate([seen for _, _, seen in parts]), mask[done:])
        assert min(first for first, _ in source.reads) > done - 2 * window
        assert rest.run + rest.skipped == stats.run + stats.skipped


THREE = InputSpec(name="image", family="optical", bands=["r", "g", "b"], unit="uint8", mean=[0.4] * 3, std=[0.2] * 3)


def contract(**changes: Any) -> ModelContract:
    base: dict[str, Any] = {
        "name": "test",
        "description": "a test",
        "task": "segmentation",
        "architecture": ArchitectureSpec(name="segmenter"),
        "inputs": [THREE],
        "classes": class_specs(DAMAGE_CLASSES),
        "licence": "Apache-2.0",
    }
    return ModelContract(**{**base, **changes})


def cpu(precision: str) -> Choice:
    return Choice("torch", "cpu", precision, "a test")


def predict_with(module: nn.Module, contract: ModelContract, runtime: Choice, **options: Any) -> Predictor:
    network = TorchNetwork(module, contract, Program("scores"), runtime)
    return Predictor(network, contract, runtime, **options)


def one_by_one() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 1)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize(("h", "w"), [(300, 211), (33, 500), (64, 64)])
def test_a_1x1_convolution_tiled_equals_the_whole_in_every_label(h: int, w: int, blend: Any) -> None:
    source = make(h, w)
    predictor = predict_with(one_by_one(), contract(), cpu("float32"))
    tiled, _, _ = collect(source, plan_tiles(h, w, 64, 0.5, blend=blend), predictor)
    whole = next(iter(predictor([source.data[None]], [source.valid[None]])))
    assert (predictor.decode(tiled).labels == predictor.decode(whole).labels).all()
    np.testing.assert_allclose(tiled.sum(0), 1, atol=1e-5)


class Neighbours(nn.Module):
    """A network whose answer depends on where the window lies: a convolution with padding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 4, 9, padding=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) * 3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batch_1_and_8_give_the_same_labels(precision: str) -> None:
    source = make(300, 300)
    plan = plan_tiles(300, 300, 64, 0.5)
    labels = []
    for batch in (1, 8):
        runtime = cpu(precision)
        predictor = predict_with(Neighbours(), contract(), runtime, batch_size=batch)
        labels.append(predictor.decode(collect(source, plan, predictor, batch=batch)[0]).labels)
    assert (labels[0] == labels[1]).all()


def test_invalid_pixels_are_not_analysed_and_do_not_reach_the_network() -> None:
    source = make(128, 128)
    source.valid[:, :40] = False
    plan = plan_tiles(128, 128, 64, 0.5)
    clean, analysed, _ = collect(source, plan, predict_with(Neighbours(), contract(), cpu("bfloat16")))
    source.data[:, :, :40] = np.nan
    dirty, _, _ = collect(source, plan, predict_with(Neighbours(), contract(), cpu("bfloat16")))
    np.testing.assert_array_equal(clean, dirty)
    assert not analysed[:, :40].any()
    assert analysed[:, 40:].all()


def test_windows_outside_the_region_are_neither_run_nor_read() -> None:
    source = make(640, 128)
    plan = plan_tiles(640, 128, 64, 0.5)
    wanted = np.zeros((640, 128), bool)
    wanted[300:310, 20:30] = True
    predictor = Identity()
    out, analysed, stats = collect(source, plan, predictor, region=lambda a, b: wanted[a:b])
    assert (analysed == wanted).all()
    np.testing.assert_allclose(out[:, wanted], source.data[:, wanted], atol=2e-6)
    assert stats.run == predictor.windows < len(plan)
    assert stats.run + stats.skipped == len(plan)
    assert sum(end - first for first, end in source.reads) < 400


def test_an_all_invalid_raster_runs_no_window() -> None:
    source = make(100, 100)
    source.valid[:] = False
    predictor = Identity()
    _, analysed, stats = collect(source, plan_tiles(100, 100, 64), predictor)
    assert predictor.windows == stats.run == 0
    assert not analysed.any()


class TwoHeads(nn.Module):
    """Localisation and damage heads that both depend on direction."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.loc = nn.Conv2d(6, 2, 5, padding=2)
        self.dam = nn.Conv2d(6, 4, 5, padding=2)

    def forward(self, pre: torch.Tensor, post: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.cat([pre, post], 1)
        return self.loc(x), self.dam(x)


def pair(**changes: Any) -> ModelContract:
    inputs = [THREE.model_copy(update={"name": n}) for n in ("pre", "post")]
    return contract(task="damage", inputs=inputs, **changes)


@pytest.mark.parametrize("localisation", ["ignore", "gate"])
@pytest.mark.parametrize(("turns", "mirror"), [(0, True), (1, False), (2, True), (3, True)])
def test_augmented_answers_turn_with_the_image_on_every_head(localisation: str, turns: int, mirror: bool) -> None:
    predictor = predict_with(TwoHeads(), pair(localisation=localisation), cpu("float32"), tta=True)
    x = np.random.default_rng(0).random((2, 1, 3, 48, 48), np.float32)
    valid = np.ones((1, 48, 48), bool)

    def turn(a: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.rot90(a[..., ::-1] if mirror else a, turns, (-2, -1)))

    straight = next(iter(predictor([x[0], x[1]], [valid, valid])))
    turned = next(iter(predictor([turn(x[0]), turn(x[1])], [valid, valid])))
    assert straight.shape[0] == (6 if localisation == "gate" else 4)
    np.testing.assert_allclose(turn(straight), turned, atol=1e-5)
    plain = predict_with(TwoHeads(), pair(localisation=localisation), cpu("float32"))
    assert not np.allclose(next(iter(plain([x[0], x[1]], [valid, valid]))), straight, atol=1e-3)


def test_the_gate_is_the_published_rule() -> None:
    predictor = predict_with(TwoHeads(), pair(localisation="gate"), cpu("float32"))
    random = np.random.default_rng(3)
    damage = random.dirichlet(np.ones(4), (20, 30)).transpose(2, 0, 1).astype(np.float32)
    building = random.random((20, 30)).astype(np.float32)
    decoded = predictor.decode(np.concatenate([damage, (1 - building)[None], building[None]]))
    assert (decoded.labels == damage.argmax(0) * (building > 0.5)).all()
    np.testing.assert_allclose(decoded.probabilities.sum(0), 1, atol=1e-6)
    assert (decoded.confidence >= 0).all() and (decoded.confidence <= 1).all()


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    class Tight(nn.Module):
        seen: list[int]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.append(len(x))
            if len(x) > 2:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return one_by_one()(x)

    module = Tight()
    module.seen = []
    predictor = predict_with(module, contract(), cpu("float32"))
    predictor.batch_size = 7
    images = np.random.default_rng(0).random((7, 3, 32, 32), np.float32)
    valid = np.ones((7, 32, 32), bool)
    scores = list(predictor([images], [valid]))
    assert module.seen == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    whole = predict_with(one_by_one(), contract(), cpu("float32"))
    for score, expected in zip(scores, whole([images], [valid]), strict=True):
        np.testing.assert_allclose(score, expected, atol=1e-6)


def test_an_error_in_a_reader_or_the_sink_ends_the_run() -> None:
    class Broken(Source):
        def read_rows(self, row0: int, row1: int) -> Strip:
            if row0 > 100:
                raise OSError("disk gone")
            return super().read_rows(row0, row1)

    whole = make(400, 64)
    with pytest.raises(OSError, match="disk gone"):
        collect(Broken(whole.data, whole.valid), plan_tiles(400, 64, 64), Identity())

    def full(row: int, scores: NDArray[Any], mask: NDArray[Any]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        engine.run([whole], plan_tiles(400, 64, 64), Identity(), full)


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    class Counting(Reporter):
        last = (0, 0)

        def progress(self, done: int, total: int) -> None:
            assert done >= self.last[0]
            self.last = (done, total)

    reporter = Counting()
    plan = plan_tiles(200, 200, 64)
    collect(make(200, 200), plan, Identity(), reporter=reporter)
    assert reporter.last == (len(plan), len(plan))
