"""`python -m mlcode predict`: few-shot recognition of a reader's own images."""

import csv
import re

import pytest
import torch
from PIL import Image

from mlcode import Glyphs
from mlcode.predict import answer, draw, ready
from mlcode.runs import read_setting
from tests.helpers import python
from tests.test_command_line import mlcode, says

CPU = torch.device("cpu")
CLASSES = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs, trained when they are asked for, a little."""
    folder = tmp_path_factory.mktemp("runs")

    def run(learner, *options, source="glyphs"):
        place = folder / "-".join((learner, source, *map(str, options)))
        if not place.exists():
            few = ("--n-iterations", 2, "--n-tasks", 1)
            done = mlcode("train", learner, source, *few, *options, "--out", place)
            assert done.exit_code == 0, done.output
        return place

    return run


@pytest.fixture
def images(tmp_path):
    """Three classes of glyphs, one and two support images and two queries each."""
    glyphs = Glyphs("test").images
    for at, name in enumerate(CLASSES):
        drawings = [Image.fromarray(255 - image.numpy()) for image in glyphs[40 * at]]
        (tmp_path / "support" / name).mkdir(parents=True)
        (tmp_path / "queries").mkdir(exist_ok=True)
        for i in range(1 + at % 2):
            drawings[i].resize((56, 56)).save(tmp_path / "support" / name / f"{i}.png")
        for i in (5, 6):
            drawings[i].save(tmp_path / "queries" / f"{name}_{i}.png")
    return tmp_path


def test_from_a_shell_it_prints_and_saves_the_answers(runs, images):
    out = images / "out"
    done = python(
        "-m", "mlcode", "predict", runs("protonet"), images / "support", images / "queries",
        "--out", out,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.split(r"  +", lines[0].strip()) == [
        "query", "class", "confidence", "next", "confidence",
    ]  # fmt: skip
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["query"] for row in rows] == sorted(p.name for p in (images / "queries").iterdir())
    for line, row in zip(lines[1:], rows):
        name, best, p, *_ = re.split(r"  +", line.strip())
        assert (name, best) == (row["query"], row["class"])
        assert p == f"{float(row['confidence']):.0%}"
        shares = {c: float(row[c]) for c in CLASSES}
        assert max(shares, key=shares.get) == best
        assert sum(shares.values()) == pytest.approx(1, abs=2e-4)
    with Image.open(out / "predictions.png") as picture:
        assert min(picture.size) > 300
    assert lines[-2:] == [f"Saved {out / name}" for name in ("predictions.csv", "predictions.png")]


LEARNERS = ["protonet", "matching", "siamese", "proto-maml", "pixels"]


@pytest.mark.parametrize("learner", LEARNERS)
def test_any_number_of_classes_is_told_apart_by_learners_that_compare(learner, runs, images):
    answers = answer(runs(learner), images / "support", images / "queries", CPU)
    assert answers.classes == CLASSES
    assert answers.confidence.shape == (6, 3)
    assert torch.allclose(answers.confidence.sum(1), torch.ones(6))


@pytest.mark.parametrize("learner", ["maml", "anil", "fomaml"])
def test_learners_with_an_output_a_class_take_as_many_classes_as_they_were_trained_with(
    learner, runs, images
):
    answers = answer(runs(learner, "--n-way", 3), images / "support", images / "queries", CPU)
    assert answers.confidence.shape == (6, 3)
    with pytest.raises(ValueError, match=r"trained to tell 5 classes apart; got 3.*protonet"):
        answer(runs(learner), images / "support", images / "queries", CPU)


@pytest.mark.parametrize(
    ("learner", "options"),
    [(name, ()) for name in LEARNERS] + [("maml", ("--n-way", 3)), ("matching", ("--n-way", 4))],
)
def test_a_query_is_answered_alone(learner, options, runs, images):
    run = runs(learner, *options)
    together = answer(run, images / "support", images / "queries", CPU)
    for path in sorted((images / "queries").iterdir())[1:]:
        path.unlink()
    alone = answer(run, images / "support", images / "queries", CPU)
    assert torch.allclose(alone.confidence[0], together.confidence[0], atol=1e-5)


def test_a_support_image_among_the_queries_is_of_its_class(runs, images):
    for name in CLASSES:
        source = images / "support" / name / "0.png"
        (images / "queries" / f"{name}_again.png").write_bytes(source.read_bytes())
    answers = answer(runs("matching"), images / "support", images / "queries", CPU)
    found = {row[0]: row[1] for row in answers.rows() if "again" in row[0]}
    assert found == {f"{name}_again.png": name for name in CLASSES}


def test_its_statistics_are_frozen_at_training_images(runs):
    run = runs("protonet")
    learner = ready(run, read_setting(run), 3, CPU)
    assert all(block.norm.frozen for block in learner.encoder.body)
    assert not learner.training


def test_of_a_learner_that_adapts_the_statistics_are_the_support_sets(runs):
    run = runs("proto-maml")
    learner = ready(run, read_setting(run), 3, CPU)
    assert learner.statistics == "support"
    assert not any(block.norm.frozen for block in learner.encoder.body)


def test_a_picture_of_many_classes_and_odd_names_can_be_drawn(runs, images, tmp_path):
    for name in ("a $ b_{2", "ᚁ ᛟ 漢", "a name that is far too long for its place in the picture"):
        (images / "support" / "alpha").rename(images / "support" / name)
        answers = answer(runs("pixels"), images / "support", images / "queries", CPU)
        draw(answers, tmp_path / "picture.png")
        (images / "support" / name).rename(images / "support" / "alpha")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_a_run_on_functions_names_no_classes(runs, images):
    run = runs("maml", source="sinusoids")
    said = says("predict", run, images / "support", images / "queries")
    assert "trained on sinusoids, which are functions" in said


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda at: (at / "queries" / "x.png").write_text("no"), "x.png is no readable image"),
        (lambda at: (at / "support" / "new").mkdir(), "new holds no image"),
        (lambda at: (at / "support").rename(at / "gone"), "support is no folder"),
        (
            lambda at: Image.new("RGB", (40, 40), "red").save(at / "support" / "beta" / "r.png"),
            "r.png",
        ),
        (
            lambda at: Image.new("L", (40, 30), 9).save(at / "queries" / "wide.png"),
            "wide.png has 40 × 30 pixels and is not square",
        ),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_written(runs, images, spoil, reason):
    spoil(images)
    out = images / "out"
    said = says("predict", runs("pixels"), images / "support", images / "queries", "--out", out)
    assert reason in said
    assert not out.exists()


def test_a_folder_without_a_run_is_named(images):
    assert "holds no run" in says("predict", images, images / "support", images / "queries")


@pytest.mark.parametrize("statistics", ["together", "query", "support", "frozen"])
def test_evaluate_knows_where_a_metric_learners_statistics_come_from(runs, statistics):
    done = mlcode(
        "evaluate", runs("protonet"), "--statistics", statistics, "--n-tasks", 3, "--n-way", 7,
        "--n-shot", 2,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    shown = dict(re.split(r"  +", line.strip()) for line in done.stdout.splitlines())
    assert (shown["statistics"], shown["n_way"], shown["n_shot"]) == (statistics, "7", "2")


def test_statistics_cannot_be_frozen_where_there_is_an_inner_loop(runs):
    said = says("evaluate", runs("maml", "--n-way", 3), "--statistics", "frozen", "--n-tasks", 3)
    assert "statistics must be one of 'query', 'support'" in said
