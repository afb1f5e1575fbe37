"""The image of a version: built, run as on OpenShift, pushed, deployed, and followed back to the data."""

import pytest
from containers import running
from test_serve import ROW


@pytest.fixture(scope="session")
def service(service_image):
    with running(service_image) as container:
        yield container


def test_the_image_answers_without_any_right_and_logs_what_it_answers(service):
    status, (answer,) = service.ask("/predict", [ROW])
    assert status == 200
    assert service.ask(f"/predictions/{answer['id']}")[1]["inputs"]["carrier"] == "B6"
