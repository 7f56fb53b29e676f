"""Ranking: half samples, chance, the verb, layers, side by side, and the choice of a fit."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import headstart
from headstart import catalog
from headstart.errors import HeadstartError, MethodError, Problems, SourceError, UsageError
from headstart.ranking import auto, measure, verb
from headstart.ranking.concatenation import concatenation
from headstart.ranking.resample import Calibrated, calibrate, halves, leading, ties
from headstart.ranking.table import Ranking, Row, Skipped, ordinal
from headstart.sources import shelf
from headstart.sources.base import Source
from headstart.tasks.classification import Classification
from tests.conformance.examples import tiny_bert, tiny_torchvision
from tests.test_transfer import lines, sentiment

QUICK = {"precision": "fp32", "concatenate": False}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def bert(home) -> Source:
    return named(tiny_bert(home), "bert")


def named(source: Source, name: str) -> Source:
    other = source.clone()
    other.card = replace(source.card, name=name)
    return other


def named_alone(source: Source, name: str) -> Source:
    """The source itself under another name; unlike a clone it keeps its classifier."""
    source.card = replace(source.card, name=name)
    return source


def deaf(source: Source) -> Source:
    """The source with embeddings that do not tell one word from another."""
    other = named(source, "deaf")
    with torch.no_grad():
        other.network.embeddings.word_embeddings.weight[:] = other.network.embeddings.word_embeddings.weight[0]
    other.card = replace(other.card, digest=other.digest())
    return other


# --- half samples and chance ---------------------------------------------------------------------------------------


def test_halves_hold_half_of_every_stratum():
    strata = np.repeat([0, 1, 2, 3], [40, 21, 2, 1])
    masks = halves(strata, 200, np.random.default_rng(0))
    counts = np.stack([masks[:, strata == stratum].sum(axis=1) for stratum in range(4)], axis=1)
    assert set(counts[:, 0]) == {20} and set(counts[:, 1]) == {10, 11} and set(counts[:, 2:].ravel()) == {1}
    assert abs(masks[:, :40].mean(axis=0) - 0.5).max() < 0.15, "every row is drawn as often as any other"


def test_half_samples_spread_as_the_score_of_fresh_rows_does():
    """Of a mean, whose standard error is known: 1 / sqrt(N)."""
    X = np.random.default_rng(0).normal(size=(400, 1))
    found = calibrate(lambda f, t: float(f.mean()), X, np.zeros(400), np.zeros(400, int), resamples=2000, shuffles=2)
    assert found.halves.std() == pytest.approx(1 / 20, rel=0.08)
    low, high = found.interval
    assert low < found.score < high and high - low == pytest.approx(2 * 1.96 / 20, rel=0.12)


def test_doubled_rows_would_flatter_a_neighbour_score_and_half_samples_do_not():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(150, 16)), rng.integers(0, 2, 150)
    knn = catalog.find("rankers", "knn")()
    doubled = rng.integers(0, 150, 150)
    assert knn.score(X[doubled], y[doubled]) > knn.score(X, y) + 0.1
    found = calibrate(knn.score, X, y, y, resamples=20, shuffles=20)
    low, high = found.interval
    assert low < 0.5 < high and abs(found.chance - 0.5) < 0.05 and found.score <= found.chance_high + 0.1


def test_related_features_stand_above_chance_and_unrelated_ones_do_not():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 300)
    noise = rng.normal(size=(300, 20))
    informed = np.concatenate([noise, np.eye(3)[y] + 0.5 * rng.normal(size=(300, 3))], axis=1)
    for name in ("logme", "probe_cv", "hscore", "gbc"):
        score = catalog.find("rankers", name)().score
        good, bad = (calibrate(score, X, y, y, resamples=20) for X in (informed, noise))
        assert good.score > good.chance_high and good.interval[0] > bad.interval[1], name
        assert bad.score < bad.chance + 0.5 * (good.score - good.chance), name


def test_leading_axes_keep_distances_and_the_same_rows():
    rng = np.random.default_rng(2)
    low_rank = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 40)) + 3
    for X in (low_rank, low_rank[:30]):  # more rows than columns, and fewer
        short = leading(X, 8)
        assert short.shape == (len(X), 8)
        full, kept = (np.linalg.norm(Z[:, None] - Z[None], axis=2) for Z in (X, short))
        assert np.allclose(full, kept, atol=1e-4)
    assert leading(low_rank, 64) is low_rank


def result(score: float, halves: np.ndarray) -> Calibrated:
    return Calibrated(score, halves, np.array([0.0, 0.1]))


def test_ties_are_paired():
    """Two scores that rise and fall together are told apart by a gap far below either interval."""
    common = np.random.default_rng(0).normal(size=100)
    together = [result(1.0, common), result(0.9, common + 0.01 * np.sin(np.arange(100)))]
    alone = [result(1.0, common), result(0.9, common[::-1])]
    assert ties(together) == [True, False] and ties(alone) == [True, True]


# --- the verb ------------------------------------------------------------------------------------------------------


def test_rank_puts_the_source_that_hears_above_the_one_that_does_not(bert, home):
    found = headstart.rank(sentiment(300, 0.0), "label", sources=[deaf(bert), bert], **QUICK)
    assert [row.source for row in found] == ["bert", "deaf"] and found.best.place == 1
    assert found.best.share == 1 and not found.best.is_chance and not found[1].tied
    assert found.best.low < found.best.score < found.best.high and found.choice is found.best
    assert found.best.chance < found.best.chance_high < found.best.score
    assert (found.sampled, found.total, found.resamples, found.shuffles) == (300, 300, 100, 20)
    assert found.best.rate is not None and found.best.seconds == pytest.approx(300 / found.best.rate)
    again = headstart.rank(sentiment(300, 0.0), "label", sources=[bert, deaf(bert)], **QUICK)
    keys = ("source", "score", "low", "high", "chance", "chance_high", "share", "tied")
    rows = [[[getattr(row, key) for key in keys] for row in each] for each in (found, again)]
    assert rows[0] == rows[1], "the same seed gives the same ranking"
    assert again.best.rate is None and again.best.seconds == 0 and "stored" in again.text()


def test_labels_that_nothing_tells_are_no_better_than_chance(bert, home):
    data = sentiment(200)
    data["label"] = np.random.default_rng(5).permutation(data["label"]).tolist()
    found = headstart.rank(data, "label", sources=[bert], **QUICK)
    assert found.best.is_chance and found.best.word == "no better than chance"
    assert "no better than chance" in found.text() and any("Not even the best" in note for note in found.notes)


def test_rows_of_the_test_part_are_never_seen(bert, home, monkeypatch):
    seen: list[int] = []
    honest = verb.sample_features

    def spy(source, sample, rest, task, **options):
        seen.extend([*sample.numbers, *(rest.numbers if rest is not None else [])])
        return honest(source, sample, rest, task, **options)

    monkeypatch.setattr(verb, "sample_features", spy)
    data = sentiment(2200)
    found = headstart.rank(data, "label", sources=[bert], rows=200, **QUICK)
    dataset = headstart.read(data, target="label")
    task = Classification.learn(dataset)
    from headstart.evidence.splits import split

    test = split(dataset, task.strata(dataset.targets()), seed=0).test
    assert len(test) >= 400 and not set(test.numbers) & set(seen) and len(seen) == 2200 - len(test)
    assert found.sampled == 200 and found.total == 2200


def test_layers_are_rows_and_the_best_depth_is_named(bert, home):
    found = headstart.rank(sentiment(150, 0.0), "label", sources=[bert], layers=True, **QUICK)
    names = [layer.name for layer in bert.layers()]
    assert {row.layer for row in found} == {None, *names[:-1]} and "layer" in found.headings()
    assert sorted(row.place for row in found) == list(range(1, len(names) + 1))
    if found.best.layer is not None:
        assert any(f"--layers {found.best.layer}" in note for note in found.notes)
    assert "(output)" in found.text()


def test_all_rankers_make_a_column_each(bert, home):
    found = headstart.rank(sentiment(80, 0.0), "label", sources=[bert], ranker="all", **QUICK)
    able = {name for name in catalog.names("rankers") if catalog.find("rankers", name).needs == "features"}
    assert {found.ranker, *found.best.scores} == able and "leep" not in found.headings()
    assert "leep does not score bert: no classifier of its own." in found.notes
    assert all(len(row) == len(found.headings()) for row in found.cells())


@pytest.fixture
def pictures(home):
    """A folder of red and blue pictures with noise."""
    rng = np.random.default_rng(0)
    for number in range(40):
        place = home / "pictures" / ("red" if number % 2 else "blue")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (48, 48, 3), dtype=np.uint8)
        pixels[..., 0 if number % 2 else 2] += 120
        Image.fromarray(pixels).save(place / f"{number}.png")
    return home / "pictures"


def test_leep_reads_what_the_sources_own_classifier_says(home, pictures):
    from headstart.rankers.leep import LEEP
    from headstart.sources import torchvision

    source = named_alone(tiny_torchvision(home), "known")
    found = headstart.rank(pictures, sources=[named(source, "bare"), source], ranker="leep", **QUICK)
    assert [row.source for row in found] == ["known"] and found.best.score < 0 and not found.best.is_chance
    assert [each.source for each in found.skipped] == ["bare"] and "no classifier" in found.skipped[0].reason
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = torchvision.build("shufflenet_v2_x0_5")  # of the same weights, with its classifier in its place
    data = headstart.read(pictures)
    with torch.no_grad():
        theta = whole(source.preprocess(data.samples()).inputs["pixel_values"]).double().softmax(dim=1).numpy()
    y = np.array([label == "red" for label in data.targets()]).astype(int)
    assert found.best.score == pytest.approx(LEEP().score(theta, y), rel=1e-3)
    with pytest.raises(MethodError, match=r"HS-METHOD-003: leep .*none has one: bare\..*--ranker probe_cv"):
        headstart.rank(pictures, sources=[named(source, "bare")], ranker="leep", **QUICK)
    with pytest.raises(MethodError, match="Leave --layers out"):
        headstart.rank(pictures, sources=[source], ranker="leep", layers=True, **QUICK)


def test_all_rankers_show_leep_where_a_source_has_a_classifier(home, pictures):
    source = named_alone(tiny_torchvision(home), "known")
    found = headstart.rank(pictures, sources=[source, named(source, "bare")], ranker="all", **QUICK)
    assert "leep" in found.headings() and "leep does not score bare: no classifier of its own." in found.notes
    for row in found:
        assert (row.scores["leep"] is None) == (row.source == "bare")
    column = found.headings().index("leep")
    assert {"-"} < {row[column] for row in found.cells()} and "null" in json.dumps(found.to_json())


def test_words_have_no_class_probabilities(bert, home):
    rows = lines(60)
    data = {"tokens": rows, "y": [["B-X" if word == "good" else "O" for word in row] for row in rows]}
    with pytest.raises(MethodError, match="leep is not defined for token labels"):
        headstart.rank(data, "y", sources=[bert], ranker="leep", **QUICK)


@pytest.mark.parametrize("task", ["regression", "multilabel", "token_labels"])
def test_other_tasks(bert, home, task):
    rows = lines(120)
    texts = [" ".join(row) for row in rows]
    data = {
        "regression": {
            "text": texts,
            "y": [float(sum(w in ("good", "happy") for w in row)) + len(row) / 7 for row in rows],
        },
        "multilabel": {"text": texts, "y": [[word for word in ("good", "bad") if word in row] for row in rows]},
        "token_labels": {
            "tokens": rows,
            "y": [["B-X" if word in ("good", "sad") else "O" for word in row] for row in rows],
        },
    }[task]
    found = headstart.rank(data, "y", sources=[bert, deaf(bert)], rows=400, **QUICK)
    assert found.best.source == "bert" and not found.best.is_chance and task.replace("_", " ")[:5] in found.task.lower()


def test_a_source_that_cannot_be_had_is_listed_and_the_rest_goes_on(bert, home, monkeypatch):
    def away(name):
        raise SourceError("HS-SOURCE-003", f"{name} cannot be fetched: no network.", "Connect.")

    monkeypatch.setattr(shelf, "fetch", away)
    found = headstart.rank(sentiment(60), "label", sources=["minilm", bert], **QUICK)
    assert [row.source for row in found] == ["bert"]
    assert found.skipped == [Skipped("minilm", "minilm cannot be fetched: no network. Connect.", "HS-SOURCE-003")]
    assert "minilm: not ranked. minilm cannot be fetched" in found.text()
    with pytest.raises(SourceError, match=r"HS-SOURCE-003: none of the sources.*no network"):
        headstart.rank(sentiment(60), "label", sources="minilm", **QUICK)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"sources": "minilmm"}, "HS-SOURCE-001"),
        ({"sources": "identity"}, "HS-SOURCE-005"),
        ({"sources": " , "}, "HS-USAGE-001"),
        ({"rows": 3}, "HS-USAGE-001"),
        ({"ranker": "logmee"}, "HS-METHOD-001"),
        ({"target": "lable"}, "HS-DATA-003"),
    ],
)
def test_refusals(home, options, code):
    with pytest.raises(HeadstartError, match=code) as error:
        headstart.rank(sentiment(40), **{"target": "label", "sources": "minilm", **options})
    assert "\n" not in str(error.value)


def test_rankers_that_do_not_read_the_target_are_refused(bert, home):
    data = {"text": [" ".join(row) for row in lines(40)], "y": [float(n) + 0.5 for n in range(40)]}
    only_classes = next(n for n in catalog.names("rankers") if "values" not in catalog.find("rankers", n).reads)
    with pytest.raises(MethodError, match="HS-METHOD-003"):
        headstart.rank(data, "y", sources=[bert], ranker=only_classes, **QUICK)


def test_all_is_the_shelf_of_the_modality(home):
    text = headstart.read(sentiment(10), target="label")
    assert verb.candidates(text, "all") == ["minilm"]
    assert verb.candidates(text, "minilm, hf:a/b,minilm") == ["minilm", "hf:a/b"]
    with pytest.raises(Problems) as both:
        verb.candidates(text, "minilm,minilmm,mobilenet_v2")
    assert [each.code for each in both.value.problems] == ["HS-SOURCE-001", "HS-SOURCE-005"]
    table = headstart.read({"a": [1.0, 2.0] * 5, "y": ["p", "n"] * 5}, target="y")
    assert verb.candidates(table, "all") == ["identity"]
    with pytest.raises(UsageError):
        verb.candidates(text, [])


def test_a_table_can_be_ranked(home):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 80))
    data = {"a": a.tolist(), "b": b.tolist(), "y": np.where(a + b > 0, "p", "n").tolist()}
    found = headstart.rank(data, "y", **QUICK)
    assert found.best.source == "identity" and found.best.width == 2 and not found.best.is_chance


# --- showing -------------------------------------------------------------------------------------------------------


def test_rows_of_a_group_do_not_tell_on_each_other(home):
    """Forty voices of six rows each; a label belongs to a voice, and nothing else tells it."""
    generator = np.random.default_rng(0)
    voice = np.repeat(np.arange(40), 6)
    numbers = generator.normal(size=(40, 30))[voice] + 0.1 * generator.normal(size=(240, 30))
    data = {f"x{i}": numbers[:, i].tolist() for i in range(30)}
    labels = np.where(generator.permutation(40) % 2, "a", "b")[voice].tolist()
    data |= {"voice": [f"v{v}" for v in voice], "label": labels}
    given = {"sources": ["identity"], "ranker": "all", **QUICK}
    alone = headstart.rank(data, "label", input=[name for name in data if name[0] == "x"], **given)
    apart = headstart.rank(data, "label", roles={"voice": "group"}, **given)
    assert alone.best.score > 0.95 and apart.best.score < 0.65 and apart.best.is_chance
    assert alone.best.scores["knn"] > 0.95 and apart.best.scores["knn"] < 0.65
    assert any("logme" in note and "cannot leave whole groups out" in note for note in apart.notes)
    assert not any("probe_cv" in note or "knn" in note for note in apart.notes if "whole groups" in note)


def row(source: str, place: int, score: float, seconds: float, tied: bool = False, **more) -> Row:
    fields = {"layer": None, "low": score - 0.1, "high": score + 0.1, "chance": 0.0, "chance_high": 0.05, "share": 1.0}
    return Row(
        source, place=place, score=score, seconds=seconds, rate=10.0, tied=tied, width=8, licence="<MIT>",
        **{**fields, **more},
    )  # fmt: skip


def ranking(*rows: Row) -> Ranking:
    return Ranking(
        list(rows), [Skipped("far", "no network.")], "logme", "classification (2 classes)", 50, 90, 100, 20, 0
    )


def test_the_cheapest_of_those_level_with_the_best_is_the_choice():
    rows = [row("big", 1, 0.7, 60.0, True), row("small", 2, 0.69, 20.0, True), row("tiny", 3, 0.2, 1.0)]
    found = ranking(*rows)
    assert found.best.source == "big" and found.choice.source == "small"
    assert "cannot be told from big" in auto.reason(found, found.choice) and "2nd of 3" in auto.reason(
        found, found.choice
    )
    assert "best of 1 sources" not in auto.reason(ranking(rows[2]), rows[2])


def test_a_ranking_shows_itself_as_text_json_and_html():
    found = ranking(row("big", 1, 0.7, 60.0, True), row("small", 2, 0.69, 200.0, True, share=0.98))
    text = found.text()
    assert (
        "2 =" in text
        and "98%" in text
        and "60 s" in text
        and "3 min" in text
        and "far: not ranked. no network." in text
    )
    data = json.loads(json.dumps(found.to_json()))
    assert data["choice"] == "big" and data["candidates"][1]["share"] == 0.98 and data["skipped"][0]["source"] == "far"
    page = found._repr_html_()
    assert "&lt;MIT&gt;" in page and "<MIT>" not in page and page.count("<tr>") == 3
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "12th",
        "13th",
        "21st",
        "102nd",
    ]


# --- side by side --------------------------------------------------------------------------------------------------


def test_features_that_complete_each_other_are_offered_side_by_side():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(400, 2))
    y = (parts.sum(axis=1) > 0).astype(int)
    left, right = (parts[:, [i]] + 0.1 * rng.normal(size=(400, 4)) for i in (0, 1))
    task = Classification(["a", "b"])
    found = concatenation(task, [("left", left * 100), ("right", right)], y)
    assert found is not None and found.helps and found.score > found.alone + 0.1
    assert "Side by side helps: left + right" in found.sentence("accuracy")
    same = concatenation(task, [("left", left), ("twin", left.copy())], y)
    assert same is not None and not same.helps and "does not help" in same.sentence("accuracy")
    assert concatenation(task, [("left", left)], y) is None
    assert "headstart fit ... --source left+right" in found.sentence("accuracy")
    assert "--source" not in same.sentence("accuracy")


def test_sources_side_by_side_are_ranked_and_not_offered_again(bert, home):
    bert.save(home / "one")
    named(bert.untrained(3), "other").save(home / "two")
    names = [str(home / "one"), str(home / "two")]
    options = {"precision": "fp32", "sources": [*names, "+".join(names)]}
    found = headstart.rank(sentiment(80, 0.0), "label", **options)
    joined = next(row for row in found if row.source.endswith("+other"))
    assert joined.width == 64 and len(found) == 3
    note = next(note for note in found.notes if note.startswith("Side by side"))
    assert len(note.split(":")[1].split(",")[0].split(" + ")) == 2, "the pair itself is no part of a pair"
    again = headstart.rank(sentiment(80, 0.0), "label", **options)
    assert all(row.rate is None for row in again), "all is stored under the names of the parts"


# --- the choice of a fit -------------------------------------------------------------------------------------------


@pytest.fixture
def shelf_of_two(bert, home, monkeypatch):
    """A shelf with two text sources: ``minilm`` hears nothing, ``other`` hears."""
    sources = {"minilm": replace_name(deaf(bert), "minilm"), "other": named(bert, "other")}
    state = {name: {"fetched": True} for name in sources}

    def info(name):
        card = sources[name].card.to_json() if name in sources else {"modality": "image", "parameters": 1}
        return {**card, "size": 1000, "fetched": state.get(name, {}).get("fetched", True)}

    honest = shelf.open_source
    monkeypatch.setattr(shelf, "names", lambda: list(sources))
    monkeypatch.setattr(shelf, "info", info)
    monkeypatch.setattr(shelf, "open_source", lambda name, **rest: sources.get(name) or honest(name, **rest))
    return state


def replace_name(source: Source, name: str) -> Source:
    source.card = replace(source.card, name=name)
    return source


def test_fit_takes_the_better_source_and_says_why(shelf_of_two, home):
    made = headstart.fit(
        sentiment(80, 0.0), "label", method="probe", effort="quick", precision="fp32", control=False, out=home / "run"
    )
    record = made.record
    assert record.source["name"] == "other" and record.ranking is not None
    assert (record.ranking["place"], record.ranking["of"]) == (1, 2)
    assert "other (ranked 1st of 2)" in made.summary() and "suits the target best of 2" in record.ranking["reason"]
    assert any(note.startswith("Source: other") for note in record.notes) and "ranking" in record.seconds
    assert any("those that ranked the sources too" in note for note in record.notes), "small data say so"
    page = (home / "run" / "report.html").read_text()
    assert "Why this source" in page and "suits the target best" in page
    loaded = headstart.load(home / "run")
    assert loaded.record.ranking == json.loads(json.dumps(record.ranking))


def test_the_same_auto_fit_again_ranks_nothing(shelf_of_two, home, monkeypatch):
    call = {"method": "probe", "effort": "quick", "precision": "fp32", "control": False, "out": home / "run"}
    first = headstart.fit(sentiment(70, 0.0), "label", **call)
    monkeypatch.setattr(auto, "choose", lambda *args, **rest: pytest.fail("ranked again"))
    assert headstart.fit(sentiment(70, 0.0), "label", **call).record.created == first.record.created


def test_a_named_source_is_not_ranked(shelf_of_two, home, monkeypatch):
    monkeypatch.setattr(auto, "choose", lambda *args, **rest: pytest.fail("ranked"))
    made = headstart.fit(
        sentiment(80), "label", source="minilm", method="probe", effort="quick", precision="fp32", control=False,
        out=home / "run",
    )  # fmt: skip
    assert made.record.ranking is None and "ranked" not in made.summary()


def test_a_shelf_of_one_says_that_nothing_was_ranked(shelf_of_two, home, monkeypatch):
    monkeypatch.setattr(shelf, "names", lambda: ["minilm"])
    made = headstart.fit(
        sentiment(80), "label", method="probe", effort="quick", precision="fp32", control=False, out=home / "run"
    )
    assert made.record.ranking is None and any("nothing was ranked" in note for note in made.record.notes)


def train_of(data):
    dataset = headstart.read(data, target="label")
    return dataset, Classification.learn(dataset)


def test_sources_too_slow_for_a_third_of_the_budget_are_left_out(shelf_of_two, home, monkeypatch):
    monkeypatch.setattr(
        measure, "_rate", lambda extractor, *rest: 5.0 if extractor.source.card.name == "other" else 500.0
    )
    dataset, task = train_of(sentiment(100, 0.0))
    found = auto.choose(dataset, task, ["minilm", "other"], total=100, seconds=60.0, precision="fp32")
    assert found.source.card.name == "minilm" and found.ranking is not None
    assert [each.source for each in found.ranking.skipped] == ["other"] and "20 s are allowed" in found.ranking.skipped[
        0
    ].reason
    free = auto.choose(dataset, task, ["minilm", "other"], total=100, seconds=None, precision="fp32")
    assert free.source.card.name == "other"
    monkeypatch.setattr(measure, "_rate", lambda *rest: 500.0)
    hours = iter([0.0, 1.0, 30.0])
    with monkeypatch.context() as patch:
        patch.setattr(verb, "time", SimpleNamespace(monotonic=lambda: next(hours)))
        spent = auto.choose(dataset, task, ["minilm", "other"], total=100, seconds=60.0, precision="fp32")
    assert spent.source.card.name == "minilm" and spent.ranking is not None
    assert spent.ranking.skipped == [Skipped("other", "The 20 s for ranking were spent.")]
    monkeypatch.setattr(measure, "_rate", lambda *rest: 1.0)
    late = auto.choose(dataset, task, ["minilm", "other"], total=100, seconds=60.0, precision="fp32")
    assert late.source.card.name == "minilm" and late.ranking is None and "in time" in late.reason


def test_without_a_network_the_index_is_asked_once(shelf_of_two, home, monkeypatch):
    asked = []

    def away(name, report=None):
        asked.append(name)
        raise SourceError("HS-SOURCE-003", "no network.")

    monkeypatch.setattr(shelf, "fetch", away)
    shelf_of_two["other"]["fetched"] = False
    assert auto.default("text") == "minilm" and auto.rivals("text") == ["minilm", "other"]
    dataset, task = train_of(sentiment(60))
    found = auto.choose(dataset, task, ["minilm", "other", "other"], total=60, seconds=None, precision="fp32")
    assert asked == ["other"] and found.ranking is None and "cannot be had" in found.reason
    shelf_of_two["minilm"]["fetched"] = False
    with pytest.raises(SourceError, match="HS-SOURCE-003"):
        auto.choose(dataset, task, ["minilm", "other"], total=60, seconds=None)
    shelf_of_two["other"]["fetched"] = True
    assert auto.default("text") == "other", "what is here comes before what is usual"


def test_images_have_rivals_and_tables_none(home):
    assert auto.rivals("image")[0] == "mobilenet_v2" and len(auto.rivals("image")) == 4
    assert auto.rivals("text") == ["minilm"] and auto.rivals("table") == [] and auto.default("table") is None


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command(bert, home, capsys):
    from headstart.cli import main

    bert.save(home / "saved")
    data = sentiment(90, 0.0)
    table = "text,label\n" + "\n".join(f"{text},{label}" for text, label in zip(data["text"], data["label"]))
    (home / "data.csv").write_text(table + "\n")
    words = [
        "rank",
        str(home / "data.csv"),
        "-t",
        "label",
        "--sources",
        str(home / "saved"),
        "--precision",
        "fp32",
        "-q",
    ]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["candidates"][0]["source"] == "bert" and answer["ranker"] == verb.DEFAULT and answer["sampled"] == 90
    assert main([*words, "--ranker", "knn"]) == 0
    out = capsys.readouterr().out
    assert "knn" in out and "from chance to best" in out and "half samples" in out
    assert main([*words, "--ranker", "nearest"]) == 2
    assert "HS-METHOD-001" in capsys.readouterr().err
    assert main([*words, "--kind", "text"]) == 2 and "HS-USAGE-001" in capsys.readouterr().err
