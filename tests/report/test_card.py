import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from headstart.report import card, html
from headstart.types import Record

from . import records


def parts(record: Record) -> tuple[dict[str, Any], str]:
    """The front matter, parsed, and the Markdown under it."""
    opening, head, body = card.card(record).split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(head), body


def with_source(**source: Any) -> Record:
    return records.base(source=records.base().source | source)


@pytest.mark.parametrize("name", records.ALL)
def test_the_hub_reads_the_card(name: str) -> None:
    record = records.ALL[name]()
    read = ModelCard(card.card(record))
    assert read.data.library_name == "headstart"
    assert read.data.license
    shipped = next(item for item in record.candidates if item.name == record.shipped)
    if shipped.test is None:
        assert read.data.eval_results is None
    else:
        assert read.data.eval_results is not None
        assert read.data.eval_results[0].metric_value == round(shipped.test, 4)
        assert read.data.eval_results[0].dataset_split == "test"


@pytest.mark.parametrize("name", records.ALL)
def test_every_section_is_there_and_no_markup_came_in(name: str) -> None:
    _, body = parts(records.ALL[name]())
    headings = [line for line in body.splitlines() if line.startswith("## ")]
    assert headings == [f"## {word}" for word in ("Use", "Evidence", "Training", "Limits", "Licence", "Provenance")]
    outside = re.sub(r"^(```+).*?^\1$", "", body, flags=re.S | re.M)
    assert "<" not in outside
    assert not re.search(r"\n{4,}", body)
    for table in re.findall(r"(?:^\|.*\n)+", outside, flags=re.M):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table


def test_front_matter_of_the_positive_run() -> None:
    head, body = parts(records.positive())
    assert head == {
        "license": "apache-2.0",
        "library_name": "headstart",
        "pipeline_tag": "text-classification",
        "tags": ["headstart", "transfer-learning", "classification", "text", "positive-transfer"],
        "metrics": ["accuracy", "f1", "log_loss"],
        "model-index": [
            {
                "name": "reviews",
                "results": [
                    {
                        "task": {"type": "text-classification"},
                        "dataset": {"type": "reviews", "name": "reviews.csv", "split": "test"},
                        "metrics": [
                            {"type": "accuracy", "name": "accuracy", "value": 0.889},
                            {"type": "f1", "name": "macro F1", "value": 0.8412},
                            {"type": "log_loss", "name": "log loss", "value": 0.347},
                        ],
                    }
                ],
            }
        ],
    }
    assert "> **Positive transfer, +4.3 points" in body and "> Head start: 77 labels" in body
    assert "| finetune, ships | transfer: all layers, layer-wise rates | 0.895 | 0.889 | 1 min 34 s |" in body
    assert records.positive().source["digest"] in body and records.positive().data["digest"] in body


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:prajjwal1/bert-tiny", "prajjwal1/bert-tiny"),
        ("timm:resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
        ("minilm", None),
        ("torchvision:vgg11", None),
        ("hf:no owner/x", None),
        ("hf:../../etc", None),
    ],
)
def test_base_model_only_for_hub_models(name: str, expected: str | None) -> None:
    assert card.metadata(with_source(name=name)).get("base_model") == expected


def test_control_that_ships_has_no_base_model_and_says_how_it_was_chosen() -> None:
    record = records.negative()
    record.source["name"] = "hf:owner/name"
    head, body = parts(record)
    assert "base_model" not in head and head["license"] == "unknown"
    assert "The test took part in the choice" in body and "carries no pretrained knowledge" in body
    assert "The test took part in the choice" not in parts(records.positive())[1]
    chosen = dataclasses.replace(record, shipped_by="validation")  # negative, but validation had chosen the control
    assert "The test took part in the choice" not in parts(chosen)[1]
    assert "a little optimistic" in html.render(record) and "a little optimistic" not in html.render(chosen)


def test_runs_of_older_versions_say_in_words_that_the_test_chose() -> None:
    data = records.negative().to_json()
    del data["shipped_by"]
    assert Record.from_json(data).shipped_by == "validation"
    data["shipped_because"] = "the test verdict is negative; the test rows took part in this choice"
    assert Record.from_json(data).shipped_by == "test"


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("Llama 3 Community", {"license": "other", "license_name": "llama-3-community"}),
        ("", {"license": "unknown"}),
    ],
)
def test_licence(licence: str, expected: dict[str, str]) -> None:
    head = card.metadata(with_source(licence=licence))
    assert {key: head[key] for key in head if key.startswith("license")} == expected


@pytest.mark.parametrize(
    ("task", "modality", "expected"),
    [
        ("classification", "image", "image-classification"),
        ("multilabel", "text", "text-classification"),
        ("classification", "table", "tabular-classification"),
        ("regression", "table", "tabular-regression"),
        ("regression", "text", None),
        ("token_labels", "text", "token-classification"),
        ("classification", "series", None),
    ],
)
def test_pipeline_tag(task: str, modality: str, expected: str | None) -> None:
    record = records.base(task=records.base().task | {"name": task}, source={"name": "x", "modality": modality})
    assert card.pipeline_tag(record) == expected


def test_modality_comes_from_the_columns_where_there_is_no_source() -> None:
    assert card.pipeline_tag(records.table_without_source()) == "tabular-classification"
    series = {"columns": [{"name": "v", "role": "input", "kind": "series"}]}
    assert card.wording.modality(records.base(source={}, data=records.base().data | series)) == "series"


def test_limits_are_honest() -> None:
    assert "too few for a separate test" in parts(records.neutral())[1]
    assert "do not show that the source helped" in parts(records.neutral())[1]
    assert "there is no verdict" in parts(records.no_control())[1]
    assert "Without a control" in parts(records.no_control())[1]
    assert "Nothing was transferred" in parts(records.table_without_source())[1]


def test_dataset_is_named_only_where_it_is_on_the_hub() -> None:
    assert "datasets" not in parts(records.positive())[0]
    record = records.base(data=records.base().data | {"path": "hf:owner/reviews"})
    assert parts(record)[0]["datasets"] == ["owner/reviews"]


def test_folder_is_quoted_for_the_shell_and_for_python() -> None:
    _, body = parts(records.base(folder="my runs/it's"))
    command = next(line for line in body.splitlines() if line.startswith("headstart predict"))
    assert shlex.split(command)[2] == "my runs/it's"
    assert f"headstart.load({'my runs/it' + chr(39) + 's'!r})" in body


def test_command_cannot_leave_its_fence() -> None:
    _, body = parts(records.base(command="headstart fit ```` x"))
    assert "`````sh\nheadstart fit ```` x\n`````\n" in body


def test_write_card(tmp_path: Path) -> None:
    card.write_card(records.positive(), tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == card.card(records.positive())
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
