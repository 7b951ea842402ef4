"""Valid requests to the API, and what it says about itself."""

import io
import re
import threading

import numpy as np
import pytest
from PIL import Image

from imagetext.serving.loading import LazyService
from imagetext.serving.protocols import Examples

from .served import upload
from .stand_ins import StandInCaptions, StandInMatches, StandInSearch, photo

BLUE = (20, 30, 200)


def test_a_photo_is_described_with_attention_maps(client):
    answer = client.post("/v1/caption", files=upload(photo()), data={"top": 2, "maps": "true"})
    assert answer.status_code == 200
    best, second = answer.json()["captions"]
    assert best["text"] == "a red shape on light paper" and best["score"] > second["score"]
    assert [word["word"] for word in best["words"]] == best["text"].split()
    attention = np.array(best["words"][2]["map"])
    assert attention.shape == (7, 7) and np.unravel_index(attention.argmax(), (7, 7)) == (3, 2)
    assert attention.sum() == pytest.approx(1, abs=0.01)


def test_maps_and_beams_are_passed_on_as_requested(make_client):
    service = StandInCaptions()
    client = make_client(caption=service)
    answer = client.post("/v1/caption", files=upload(photo(colour=BLUE)), data={"beams": "7"})
    assert [word["map"] for word in answer.json()["captions"][0]["words"]] == [None] * 6
    assert "blue" in answer.json()["captions"][0]["text"]
    assert service.batches == [(1, 7, 3, False)]


def test_a_sentence_is_matched_with_and_without_regions(client):
    right = client.post("/v1/match", files=upload(photo()), data={"text": "a red  shape\n"}).json()
    assert right == {"probability": 0.93, "regions": None}
    wrong = client.post("/v1/match", files=upload(photo()), data={"text": "a blue shape"}).json()
    assert wrong["probability"] == 0.04
    answer = client.post("/v1/match", files=upload(photo()), data={"text": "red", "regions": "yes"})
    regions = answer.json()["regions"]
    effect = np.array(regions["effect"])
    assert effect.shape == (regions["rows"], regions["columns"]) == (8, 8)
    assert effect.max() == 0.5 and effect.min() == -0.2 and regions["covered"] == 0.41


def test_photos_are_found_by_text_and_shown_by_id(client):
    query = {"text": "red star", "without": "large", "top": 5}
    answer = client.post("/v1/search", json=query).json()
    assert len(answer["hits"]) == 5 and answer["photos"] == 30
    words = answer["hits"][0]["captions"][0].split()
    assert {"red", "star"} <= set(words) and "large" not in words
    id = answer["hits"][0]["id"]
    shown = client.get(f"/v1/photo/{id}")
    assert shown.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(shown.content)).format == "JPEG"
    assert "max-age" in shown.headers["cache-control"]
    larger = client.get(f"/v1/photo/{id}?size=large")
    assert larger.status_code == 200


def test_photos_are_found_by_a_photo_and_by_the_id_of_one(make_client):
    search = StandInSearch()
    client = make_client(search=search)
    client.post("/v1/search", files=upload(photo()), data={"text": "blue"})
    assert search.queries[-1].text == "blue" and search.queries[-1].photo.startswith(b"BM")
    id, own = next(iter(search.photos.items()))
    client.post("/v1/search", files=upload(own))
    assert search.queries[-1].exclude.startswith(id)  # the id of the file that was sent
    id = next(iter(search.photos))
    hits = client.post("/v1/search", json={"photo_id": id}).json()["hits"]
    assert search.queries[-1].photo_id == id
    assert id not in [hit["id"] for hit in hits]


def test_an_indexed_photo_is_described_and_matched_by_its_id(make_client):
    search = StandInSearch()
    client = make_client(caption=StandInCaptions(), match=StandInMatches(), search=search)
    id = next(iter(search.photos))
    assert client.post("/v1/caption", json={"photo_id": id}).status_code == 200
    assert client.post("/v1/match", json={"photo_id": id, "text": "red"}).status_code == 200
    assert client.post("/v1/caption", json={"photo_id": "0" * 16}).status_code == 404


def test_an_indexed_photo_whose_file_is_gone_can_be_searched_by(make_client):
    search = StandInSearch()
    client, id = make_client(search=search), next(iter(search.photos))
    search.photos.clear()
    assert client.post("/v1/search", json={"photo_id": id}).status_code == 200
    assert search.queries[-1].photo_id == id
    assert client.post("/v1/search", json={"photo_id": "0" * 32}).status_code == 404
    assert client.get(f"/v1/photo/{id}").status_code == 404


def test_an_example_that_is_not_indexed_can_be_searched_by(make_client):
    search = StandInSearch()
    client = make_client(search=search, examples=Examples({"ab12cd34": photo()}))
    assert client.post("/v1/search", json={"photo_id": "ab12cd34"}).status_code == 200
    assert search.queries[-1].photo.startswith(b"BM") and search.queries[-1].photo_id is None


def test_examples_are_available_by_id_without_an_index(make_client):
    examples = Examples({"ab12cd34": photo()}, ("a red shape",))
    client = make_client(caption=StandInCaptions(), examples=examples)
    assert client.get("/v1/examples").json() == {
        "photos": ["ab12cd34"],
        "sentences": ["a red shape"],
    }
    assert client.get("/v1/photo/ab12cd34").status_code == 200
    answer = client.post("/v1/caption", json={"photo_id": "ab12cd34"})
    assert "red" in answer.json()["captions"][0]["text"]


def test_an_index_offers_some_of_its_photos_as_examples(make_client):
    search = StandInSearch()
    examples = make_client(search=search).get("/v1/examples").json()
    assert examples["photos"] == list(search.photos)[:8]
    assert examples["sentences"] == [search.captions[id][0] for id in examples["photos"]]


def test_a_photo_and_an_id_at_once_are_refused(make_client):
    search = StandInSearch()
    fields = {"photo_id": next(iter(search.photos))}
    for path in ("search", "caption"):
        client = make_client(search=search, caption=StandInCaptions())
        error = client.post(f"/v1/{path}", files=upload(photo()), data=fields)
        assert error.status_code == 422 and "photo" in error.json()["error"]["message"]


def test_thumbnails_are_made_once(make_client):
    calls = []
    client = make_client(search=StandInSearch())
    decoders = client.app.state.dispatcher.decoders
    real = decoders.decode
    decoders.decode = lambda *args: calls.append(1) or real(*args)
    id = client.post("/v1/search", json={"text": "red"}).json()["hits"][0]["id"]
    first, again = client.get(f"/v1/photo/{id}"), client.get(f"/v1/photo/{id}")
    assert first.content == again.content and len(calls) == 1


def test_the_progress_of_loading_is_reported(make_client):
    release, started = threading.Event(), threading.Event()

    def slow(progress):
        progress(0.25, "loading the model")
        started.set()
        assert release.wait(10)
        return StandInCaptions()

    client = make_client(caption=LazyService(slow), match=StandInMatches())
    assert started.wait(10)
    assert client.get("/healthz").json() == {"status": "ok"}
    loading = client.get("/readyz")
    assert loading.status_code == 503 and loading.headers["retry-after"]
    part = {part["name"]: part for part in loading.json()["parts"]}["caption"]
    assert part == {
        "name": "caption",
        "state": "loading",
        "done": 0.25,
        "message": "loading the model",
    }
    response = client.post("/v1/caption", files=upload(photo()))
    assert response.status_code == 503 and response.json()["error"]["code"] == "loading"
    assert client.post("/v1/match", files=upload(photo()), data={"text": "red"}).status_code == 200
    release.set()
    for _ in range(200):
        if client.get("/readyz").status_code == 200:
            break
        threading.Event().wait(0.02)
    assert client.get("/readyz").json()["ready"]
    assert client.post("/v1/caption", files=upload(photo())).status_code == 200


def test_a_model_that_cannot_be_loaded_does_not_affect_the_others(make_client, caplog):
    def broken(progress):
        raise OSError("/home/someone/model.keras is damaged")

    client = make_client(caption=LazyService(broken), match=StandInMatches())
    for _ in range(200):
        parts = {part["name"]: part for part in client.get("/readyz").json()["parts"]}
        if parts["caption"]["state"] == "failed":
            break
    assert "/home" not in client.get("/readyz").text
    assert "/home/someone/model.keras is damaged" in caplog.text
    response = client.post("/v1/caption", files=upload(photo()))
    assert response.status_code == 503 and response.json()["error"]["code"] == "not-loaded"
    assert client.post("/v1/match", files=upload(photo()), data={"text": "red"}).status_code == 200


def test_the_limitation_of_a_model_is_reported(make_client):
    class Limited(StandInMatches):
        note = "Knows four words only."

    match = LazyService(lambda progress: Limited())
    client = make_client(caption=StandInCaptions(), match=match)
    for _ in range(200):
        if (state := client.get("/v1/about").json())["ready"]:
            break
        threading.Event().wait(0.02)
    assert [part["message"] for part in state["parts"]] == ["", "Knows four words only."]


def test_a_service_that_is_not_offered(make_client):
    client = make_client(caption=StandInCaptions())
    answer = client.post("/v1/match", files=upload(photo()), data={"text": "red"})
    assert answer.status_code == 404 and "without match" in answer.json()["error"]["message"]
    assert [part["name"] for part in client.get("/v1/about").json()["parts"]] == ["caption"]


def test_metrics_count_requests_and_batches(client):
    client.post("/v1/match", files=upload(photo()), data={"text": "red"})
    client.get("/no/such/path/at/all")
    text = client.get("/metrics").text
    assert 'imagetext_requests_total{route="/v1/match",status="200"} 1.0' in text
    assert 'imagetext_requests_total{route="other",status="404"} 1.0' in text
    assert "no/such" not in text
    assert 'imagetext_batch_size_count{model="match"} 1.0' in text
    assert 'imagetext_ready{model="caption"} 1.0' in text


def test_the_api_is_described_without_the_network(client):
    api = client.get("/openapi.json").json()
    assert {"/v1/caption", "/v1/match", "/v1/search", "/v1/photo/{id}"} <= set(api["paths"])
    body = api["paths"]["/v1/match"]["post"]["requestBody"]["content"]
    assert set(body["multipart/form-data"]["schema"]["properties"]) == {
        "photo",
        "photo_id",
        "text",
        "regions",
    }
    for path in ("/", "/docs"):
        page = client.get(path).text
        assert "http://" not in page and "https://" not in page


def test_fields_are_described_with_their_limits(make_client):
    api = make_client(search=StandInSearch(), max_top=20, max_text=40).get("/openapi.json").json()
    body = api["paths"]["/v1/search"]["post"]["requestBody"]["content"]
    fields = body["application/json"]["schema"]["properties"]
    top = {key: fields["top"][key] for key in ("type", "minimum", "maximum", "default")}
    assert top == {"type": "integer", "minimum": 1, "maximum": 20, "default": 12}
    assert fields["text"]["maxLength"] == 40 and "photo" not in fields
    assert body["multipart/form-data"]["schema"]["properties"]["photo"]["format"] == "binary"


def test_paths_of_the_server_are_not_sent(client):
    assert "secret" not in client.post("/v1/search", json={"text": "red"}).text
    assert "secret" not in client.get("/v1/examples").text


def test_the_page_is_complete_and_cached(client):
    visited, queue = set(), ["/", "/docs"]
    while queue:
        path = queue.pop()
        answer = client.get(path)
        assert answer.status_code == 200, path
        again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304 and not again.content
        visited.add(path)
        queue += [
            name for name in re.findall(r'"(/page/[^"]+)"', answer.text) if name not in visited
        ]
    assert {"/page/app.js", "/page/style.css", "/page/stage.js", "/page/docs.js"} <= visited
    page = client.get("/").text
    assert "<script>" not in page and "style=" not in page and "onclick" not in page
