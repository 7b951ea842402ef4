"""What the API answers when asked well."""

import io
import re
import threading

import numpy as np
import pytest
from PIL import Image

from imagetext.serving.answers import Examples
from imagetext.serving.loading import Opens

from .stand_ins import StandInCaptioner, StandInMatcher, StandInSearcher, photo

BLUE = (20, 30, 200)


def sent(data: bytes, name: str = "dog.jpg"):
    return {"photo": (name, data, "image/jpeg")}


def test_a_photo_is_described_with_where_the_model_looked(client):
    answer = client.post("/v1/caption", files=sent(photo()), data={"top": 2, "maps": "true"})
    assert answer.status_code == 200
    best, second = answer.json()["captions"]
    assert best["text"] == "a red shape on light paper" and best["score"] > second["score"]
    assert [word["word"] for word in best["words"]] == best["text"].split()
    looked = np.array(best["words"][2]["map"])
    assert looked.shape == (7, 7) and np.unravel_index(looked.argmax(), (7, 7)) == (3, 2)
    assert looked.sum() == pytest.approx(1, abs=0.01)


def test_maps_and_beams_are_only_what_was_asked_for(make_client):
    captioner = StandInCaptioner()
    client = make_client(captioner=captioner)
    answer = client.post("/v1/caption", files=sent(photo(colour=BLUE)), data={"beams": "7"})
    assert [word["map"] for word in answer.json()["captions"][0]["words"]] == [None] * 6
    assert "blue" in answer.json()["captions"][0]["text"]
    assert captioner.batches == [(1, 7, 3, False)]


def test_a_sentence_is_matched_with_and_without_regions(client):
    right = client.post("/v1/match", files=sent(photo()), data={"text": "a red  shape\n"}).json()
    assert right == {"probability": 0.93, "regions": None}
    wrong = client.post("/v1/match", files=sent(photo()), data={"text": "a blue shape"}).json()
    assert wrong["probability"] == 0.04
    answer = client.post("/v1/match", files=sent(photo()), data={"text": "red", "regions": "yes"})
    regions = answer.json()["regions"]
    effect = np.array(regions["effect"])
    assert effect.shape == (regions["rows"], regions["columns"]) == (8, 8)
    assert effect.max() == 0.5 and effect.min() == -0.2 and regions["covered"] == 0.41


def test_photos_are_found_by_words_and_shown_by_id(client):
    asked = {"text": "red star", "without": "large", "top": 5}
    answer = client.post("/v1/search", json=asked).json()
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


def test_photos_are_found_by_a_photo_and_by_one_of_the_index(make_client):
    searcher = StandInSearcher()
    client = make_client(searcher=searcher)
    client.post("/v1/search", files=sent(photo()), data={"text": "blue"})
    assert searcher.asked[-1].text == "blue" and searcher.asked[-1].photo.startswith(b"BM")
    id, own = next(iter(searcher.photos.items()))
    client.post("/v1/search", files=sent(own))
    assert searcher.asked[-1].own.startswith(id)  # the file itself, not what was made of it
    id = next(iter(searcher.photos))
    found = client.post("/v1/search", json={"photo_id": id}).json()["hits"]
    assert searcher.asked[-1].photo_id == id
    assert id not in [hit["id"] for hit in found]


def test_a_find_is_described_and_matched_by_its_id(make_client):
    searcher = StandInSearcher()
    client = make_client(captioner=StandInCaptioner(), matcher=StandInMatcher(), searcher=searcher)
    id = next(iter(searcher.photos))
    assert client.post("/v1/caption", json={"photo_id": id}).status_code == 200
    assert client.post("/v1/match", json={"photo_id": id, "text": "red"}).status_code == 200
    assert client.post("/v1/caption", json={"photo_id": "0" * 16}).status_code == 404


def test_a_photo_of_the_index_is_searched_by_without_its_file(make_client):
    searcher = StandInSearcher()
    client, id = make_client(searcher=searcher), next(iter(searcher.photos))
    searcher.photos.clear()
    assert client.post("/v1/search", json={"photo_id": id}).status_code == 200
    assert searcher.asked[-1].photo_id == id
    assert client.post("/v1/search", json={"photo_id": "0" * 32}).status_code == 404
    assert client.get(f"/v1/photo/{id}").status_code == 404


def test_an_example_is_searched_by_though_the_index_has_it_not(make_client):
    searcher = StandInSearcher()
    client = make_client(searcher=searcher, examples=Examples({"ab12cd34": photo()}))
    assert client.post("/v1/search", json={"photo_id": "ab12cd34"}).status_code == 200
    assert searcher.asked[-1].photo.startswith(b"BM") and searcher.asked[-1].photo_id is None


def test_examples_are_photos_by_id_without_any_index(make_client):
    examples = Examples({"ab12cd34": photo()}, ("a red shape",))
    client = make_client(captioner=StandInCaptioner(), examples=examples)
    assert client.get("/v1/examples").json() == {
        "photos": ["ab12cd34"],
        "sentences": ["a red shape"],
    }
    assert client.get("/v1/photo/ab12cd34").status_code == 200
    answer = client.post("/v1/caption", json={"photo_id": "ab12cd34"})
    assert "red" in answer.json()["captions"][0]["text"]


def test_an_index_alone_offers_some_of_its_own(make_client):
    searcher = StandInSearcher()
    offered = make_client(searcher=searcher).get("/v1/examples").json()
    assert offered["photos"] == list(searcher.photos)[:8]
    assert offered["sentences"] == [searcher.captions[id][0] for id in offered["photos"]]


def test_a_photo_and_an_id_at_once_are_refused(make_client):
    searcher = StandInSearcher()
    given = {"photo_id": next(iter(searcher.photos))}
    for path in ("search", "caption"):
        client = make_client(searcher=searcher, captioner=StandInCaptioner())
        refused = client.post(f"/v1/{path}", files=sent(photo()), data=given)
        assert refused.status_code == 422 and "photo" in refused.json()["error"]["message"]


def test_thumbnails_are_made_once(make_client):
    made = []
    client = make_client(searcher=StandInSearcher())
    decoders = client.app.state.desk.decoders
    real = decoders.made
    decoders.made = lambda *given: made.append(1) or real(*given)
    id = client.post("/v1/search", json={"text": "red"}).json()["hits"][0]["id"]
    first, again = client.get(f"/v1/photo/{id}"), client.get(f"/v1/photo/{id}")
    assert first.content == again.content and len(made) == 1


def test_loading_is_told_and_then_ready(make_client):
    let, told = threading.Event(), threading.Event()

    def slow(tell):
        tell(0.25, "reads the model")
        told.set()
        assert let.wait(10)
        return StandInCaptioner()

    client = make_client(captioner=Opens(slow), matcher=StandInMatcher())
    assert told.wait(10)
    assert client.get("/healthz").json() == {"status": "ok"}
    loading = client.get("/readyz")
    assert loading.status_code == 503 and loading.headers["retry-after"]
    part = {part["name"]: part for part in loading.json()["parts"]}["caption"]
    assert part == {"name": "caption", "state": "loading", "done": 0.25, "told": "reads the model"}
    asked = client.post("/v1/caption", files=sent(photo()))
    assert asked.status_code == 503 and asked.json()["error"]["code"] == "loading"
    assert client.post("/v1/match", files=sent(photo()), data={"text": "red"}).status_code == 200
    let.set()
    for _ in range(200):
        if client.get("/readyz").status_code == 200:
            break
        threading.Event().wait(0.02)
    assert client.get("/readyz").json()["ready"]
    assert client.post("/v1/caption", files=sent(photo())).status_code == 200


def test_what_cannot_be_loaded_does_not_stop_the_rest(make_client, caplog):
    def broken(tell):
        raise OSError("/home/someone/model.keras is damaged")

    client = make_client(captioner=Opens(broken), matcher=StandInMatcher())
    for _ in range(200):
        parts = {part["name"]: part for part in client.get("/readyz").json()["parts"]}
        if parts["caption"]["state"] == "failed":
            break
    assert "/home" not in client.get("/readyz").text
    assert "/home/someone/model.keras is damaged" in caplog.text
    asked = client.post("/v1/caption", files=sent(photo()))
    assert asked.status_code == 503 and asked.json()["error"]["code"] == "not-loaded"
    assert client.post("/v1/match", files=sent(photo()), data={"text": "red"}).status_code == 200


def test_what_a_model_cannot_do_is_told_from_the_start_on(make_client):
    class Limited(StandInMatcher):
        note = "Knows four words only."

    given = {"captioner": StandInCaptioner(), "matcher": Opens(lambda tell: Limited())}
    client = make_client(**given)
    for _ in range(200):
        if (state := client.get("/v1/about").json())["ready"]:
            break
        threading.Event().wait(0.02)
    assert [part["told"] for part in state["parts"]] == ["", "Knows four words only."]


def test_what_is_not_served_is_said(make_client):
    client = make_client(captioner=StandInCaptioner())
    answer = client.post("/v1/match", files=sent(photo()), data={"text": "red"})
    assert answer.status_code == 404 and "without match" in answer.json()["error"]["message"]
    assert [part["name"] for part in client.get("/v1/about").json()["parts"]] == ["caption"]


def test_metrics_count_requests_and_batches(client):
    client.post("/v1/match", files=sent(photo()), data={"text": "red"})
    client.get("/no/such/path/at/all")
    text = client.get("/metrics").text
    assert 'imagetext_requests_total{route="/v1/match",status="200"} 1.0' in text
    assert 'imagetext_requests_total{route="other",status="404"} 1.0' in text
    assert "no/such" not in text
    assert 'imagetext_batch_size_count{model="match"} 1.0' in text
    assert 'imagetext_ready{model="caption"} 1.0' in text


def test_the_api_describes_itself_without_the_network(client):
    api = client.get("/openapi.json").json()
    assert {"/v1/caption", "/v1/match", "/v1/search", "/v1/photo/{id}"} <= set(api["paths"])
    asked = api["paths"]["/v1/match"]["post"]["requestBody"]["content"]
    assert set(asked["multipart/form-data"]["schema"]["properties"]) == {
        "photo",
        "photo_id",
        "text",
        "regions",
    }
    for path in ("/", "/docs"):
        page = client.get(path).text
        assert "http://" not in page and "https://" not in page


def test_the_page_is_complete_and_is_not_sent_twice(client):
    seen, queue = set(), ["/", "/docs"]
    while queue:
        path = queue.pop()
        answer = client.get(path)
        assert answer.status_code == 200, path
        again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304 and not again.content
        seen.add(path)
        queue += [
            found for found in re.findall(r'"(/page/[^"]+)"', answer.text) if found not in seen
        ]
    assert {"/page/app.js", "/page/style.css", "/page/stage.js", "/page/docs.js"} <= seen
    page = client.get("/").text
    assert "<script>" not in page and "style=" not in page and "onclick" not in page
