"""Token labels: CoNLL, spans, lists."""

import json

import pytest

from headstart.datasets import spans
from headstart.datasets.read import read

CONLL = """-DOCSTART- -X- O

EU NNP B-ORG
rejects VBZ O

Peter NNP B-PER
Blackburn NNP I-PER
"""


def test_conll(tmp_path):
    (tmp_path / "x.conll").write_text(CONLL)
    dataset = read(tmp_path / "x.conll")
    assert dataset.samples() == [["EU", "rejects"], ["Peter", "Blackburn"]]
    assert dataset.targets() == [["B-ORG", "O"], ["B-PER", "I-PER"]]
    assert (dataset.inputs[0].kind, dataset.target.kind, dataset.modality) == ("tokens", "tags", "text")


def test_conll_ragged_sentence(tmp_path):
    good = "a B-X\nb O\n\n" * 9
    (tmp_path / "x.bio").write_text(good + "c\n\n" + good)
    dataset = read(tmp_path / "x.bio")
    assert len(dataset) == 18
    assert [(r.row, r.reason) for r in dataset.rejects] == [(10, "line 28: expected 2 columns, found 1")]


def test_conll_words_alone_for_prediction(tmp_path):
    (tmp_path / "x.conll").write_text("EU\nrejects\n\nPeter\n")
    assert read(tmp_path / "x.conll", for_prediction=True).samples() == [["EU", "rejects"], ["Peter"]]


def test_spans(tmp_path):
    text = "Ada Lovelace wrote it."
    row = {"text": text, "spans": [{"start": 0, "end": 12, "label": "PER"}]}
    rows = [row] * 8 + [{"text": text, "spans": [{"start": 1, "end": 12, "label": "PER"}]}, {"text": text, "spans": []}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = read(tmp_path / "x.jsonl")
    assert dataset.samples()[0] == ["Ada", "Lovelace", "wrote", "it", "."]
    assert dataset.targets()[0] == ["B-PER", "I-PER", "O", "O", "O"]
    assert dataset.targets()[-1] == ["O"] * 5
    assert (dataset.rejects[0].row, dataset.rejects[0].reason) == (
        9,
        'span 1-12 "PER" does not begin and end at the edge of a word',
    )


def test_plain_text_is_cut_into_words_for_a_token_model(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": "Ada wrote."}))
    assert read(tmp_path / "x.jsonl", input="tokens", for_prediction=True).samples() == [["Ada", "wrote", "."]]


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"start": 0, "end": 99, "label": "X"}, "lies outside the text of 7 characters"),
        ({"start": 3, "end": 3, "label": "X"}, "lies outside"),
        ({"start": "0", "end": 3, "label": "X"}, "whole numbers"),
        ({"start": 0, "end": 3}, "a label"),
        ("PER", "not an object"),
    ],
)
def test_spans_that_do_not_fit(span, reason):
    with pytest.raises(ValueError, match=reason):
        spans.tags("one two", [span])


def test_overlapping_spans():
    both = [{"start": 0, "end": 7, "label": "X"}, {"start": 4, "end": 7, "label": "Y"}]
    with pytest.raises(ValueError, match="overlaps"):
        spans.tags("one two", both)


def test_lists_of_tokens_and_tags():
    data = {"tokens": [["a", "b"], ["c"]] * 5, "ner": [["O", "B-X"], ["O"]] * 5}
    dataset = read(data, target="ner")
    assert (dataset.inputs[0].kind, dataset.target.kind) == ("tokens", "tags")
    data["ner"][0] = ["O"]
    dataset = read(data, target="ner")
    assert dataset.rejects[0].reason == "1 tags for 2 tokens"
    assert dataset.numbers[0] == 2
