from tests.service import Service, data_of, error_of


def test_the_service_lists_what_can_be_bought_to_anybody(http):
    data = data_of(http.get("/v1/models"))
    first = data["models"][0]
    assert (first["id"], first["default"], first["status"]) == ("house.painter", True, "available")
    assert first["execution"]["model_execution_status"] == "executable"
    assert "create" in first["supports"]
    assert first["economics"]["credit_pricing"]["credits_required"] == 7
    assert first["economics"]["credit_pricing"]["estimated_revenue_usd"] == 0.07
    assert data["summary"]["returned"] == len(data["models"])
    assert data["summary"]["cataloged_not_wired"] == 1


def test_a_model_is_shown_by_an_id_with_dots_and_by_its_alias(http, service: Service):
    shown = data_of(http.get("/v1/models/house.painter"))
    assert shown == data_of(http.get("/v1/models/painter")) == data_of(http.get("/v1/models/default"))
    assert f"--api-base-url {service.url}" in shown["model"]["show_command"]
    error = error_of(http.get("/v1/models/house.paint"), 404, "NOT_FOUND")
    assert "models show house.painter" in error["recovery"]["suggested_command"]


def test_a_capability_that_is_listed_is_shown(http):
    for row in data_of(http.get("/v1/capabilities"))["capabilities"]:
        assert data_of(http.get(f"/v1/capabilities/{row['id']}"))["capability"]["model_id"] == row["model_id"]
