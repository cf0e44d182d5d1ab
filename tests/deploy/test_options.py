"""What a cluster is told: which models, how many replicas, and how an engine's limits become Serve's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.deploy.options import ModelOptions, cluster_options
from engine.errors import InvalidRequestError

SMALL, OTHER = {"model": "smollm2-135m-instruct"}, {"model": "models/Other-1B.gguf"}


def test_the_fields_of_one_model_stand_at_the_top_as_a_command_line_has_them() -> None:
    told = cluster_options(
        {**SMALL, "replicas": "2", "cores": "1.5", "prefix_cache": "off", "log_level": "debug"}
    )
    (model,) = told.models
    assert (model.name, model.replicas, model.cores, model.prefix_cache) == (SMALL["model"], 2, 1.5, False)
    assert told.log_level == "debug"
    assert not told.has_router


def test_several_models_have_names_and_a_router() -> None:
    told = cluster_options({"models": [SMALL, OTHER, OTHER | {"alias": "again"}]})
    assert [model.name for model in told.models] == ["smollm2-135m-instruct", "Other-1B", "again"]
    assert told.has_router


@pytest.mark.parametrize("more", [{"router": "on"}, {"routing": "prefix"}])
def test_one_model_has_a_router_where_somebody_must_read_requests(more: dict[str, Any]) -> None:
    assert cluster_options(SMALL | more).has_router


def test_an_engine_uses_the_cores_of_its_replica() -> None:
    assert ModelOptions(cores=3.5).engine_options().threads == 3
    assert ModelOptions(cores=0.5).engine_options().threads == 1
    assert ModelOptions(cores=0.5, threads=2).engine_options().threads == 2


def test_what_scales_a_model_does_not_change_what_its_replicas_load() -> None:
    """Else Serve would start each of them anew."""
    few, many = ModelOptions(replicas=1), ModelOptions(replicas=9, max_replicas=12, shutdown_grace=5)
    assert few.engine_options() == many.engine_options()


@given(
    parallel=st.integers(1, 254),
    max_requests=st.integers(1, 4096),
    replicas=st.integers(1, 9),
)
def test_a_replica_holds_what_keeps_its_slots_busy_and_the_rest_waits_where_it_can_go_elsewhere(
    parallel: int, max_requests: int, replicas: int
) -> None:
    model = ModelOptions(parallel=parallel, max_requests=max_requests, replicas=replicas)
    assert min(parallel, max_requests) <= model.max_ongoing <= max_requests
    assert model.max_ongoing <= parallel + max(2, parallel // 4)
    assert model.max_waiting >= 1
    held = replicas * model.max_ongoing + model.max_waiting
    assert held == max(replicas * max_requests, replicas * (model.max_ongoing + 1))


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"replicas": 0}, "'models.0.replicas' should be greater than or equal to 1, not 0."),
        (
            {"replicas": 3, "max_replicas": 2},
            "'models.0' max_replicas: should be at least replicas, 3, not 2.",
        ),
        ({"repilcas": 2}, "'repilcas' is unknown."),
        ({"models": []}, "'models' should have at least 1"),
        ({"models": [{}], "replicas": 2}, "'replicas' belongs to one of models, as models is given."),
        ({"models": [OTHER, OTHER]}, "'models' should differ in their names, and two are 'Other-1B'"),
        ({"models": [SMALL, OTHER], "router": "off"}, "'router' cannot be off with several models"),
        ({"api_key": ","}, "'api_key' should hold at least one key."),
        ({"routing": "luck"}, "'routing' should be 'load', 'prefix' or 'session', not 'luck'."),
    ],
)
def test_a_mistake_is_named_with_its_field(told: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(says)):
        cluster_options(told)


def test_the_file_on_the_page_is_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml title=\"serve.yaml\"\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    ((application,),) = [yaml.safe_load(block)["applications"]]
    told = cluster_options(application["args"])
    assert application["import_path"] == "engine.deploy.ray:build"
    assert [model.name for model in told.models] == ["smollm2-135m-instruct", "qwen"]
