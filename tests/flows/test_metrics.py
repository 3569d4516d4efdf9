"""What the service counts, as Prometheus reads it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from billing.scopes import Scope
from tests.giving import give, new_operator
from tests.service import error_of


@pytest.fixture
def samples(http, database):
    """`samples()`: every sample of the service by its name, and its labels where there are any."""
    scraper = new_operator(http, database, Scope.READ)

    def read():
        answer = scraper.send("GET", "/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = text_string_to_metric_families(answer.text)
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }

    return read


def test_depth_sizes_give_backs_and_latencies_are_told(samples, agent, database):
    give(database, agent, 100)
    before = samples()
    for _ in range(3):
        agent.do("/v1/spends", credits=1)
    batch = {"items": [{"credits": 1, "idempotency_key": f"k{n}"} for n in range(10)]}
    agent.post("/v1/spends/batch", batch)
    after = samples()
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    assert grown[("purser_lane_batch_size_sum",)] == 13
    assert grown[("purser_lane_batch_seconds_count",)] == grown[("purser_lane_batch_size_count",)] >= 4
    assert grown[("purser_lane_wait_seconds_count",)] == 4
    assert grown[("purser_lane_wait_seconds_sum",)] > 0
    assert after[("purser_lane_queue_depth",)] == 0
    assert ("purser_lane_give_backs_total",) in after


def test_metrics_are_for_operators_who_may_read(http, agent, database):
    error_of(http.get("/metrics"), 401, "AUTH_REQUIRED")
    error_of(agent.send("GET", "/metrics"), 403, "SCOPE_MISSING")
    error = error_of(new_operator(http, database, Scope.SPEND).send("GET", "/metrics"), 403, "SCOPE_MISSING")
    assert error["recovery"]["required_scope"] == "read"
