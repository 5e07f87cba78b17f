"""Ask a server for the entities of sentences, with the prompt, the reader and the grounding of the pipeline.

Needs requests (any environment has it).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from entitune.cli import InputError
from entitune.prompting.answer_formats.constraints import constraint_of
from entitune.prompting.answer_formats.writing import write_answer
from entitune.prompting.predictions import read_prediction
from entitune.prompting.prompt import chat_of
from entitune.records import Prediction, Sentence
from entitune.serving.finished_runs import KEY_VARIABLE, FinishedRun

RETRIES_AWAY, RETRIES_BUSY = 6, 9
"""With the pauses below: half a minute of a server that is not there, two minutes of one that is busy."""
SECONDS_TO_ANSWER = 300


def connect(key: str | None, concurrency: int = 1) -> requests.Session:
    """A session whose requests are repeated, with growing pauses, while the server is away or busy."""
    retry = Retry(
        RETRIES_BUSY,
        connect=RETRIES_AWAY,
        backoff_factor=0.5,
        backoff_max=30,
        backoff_jitter=0.5,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,  # POST too: an answer changes nothing on the server
        raise_on_status=False,
    )
    session = requests.Session()
    session.trust_env = False  # a proxy for the internet is none for this server, and a .netrc would replace the key
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=concurrency, max_retries=retry))
    if key:
        session.headers["Authorization"] = f"Bearer {key}"
    return session


def request_of(run: FinishedRun, text: str) -> dict[str, Any]:
    """The body of the chat call that asks `run` for a sentence's entities."""
    body: dict[str, Any] = {
        "model": run.name,
        "messages": chat_of(run.prompt.row(Sentence(id="", text=text, entities=None))),
        "temperature": 0,
        "max_tokens": run.decode.max_tokens,
    }
    if run.decode.structured:
        body["structured_outputs"] = constraint_of(run.answer_format, run.labels, text).to_vllm()
    return body


def ask(session: requests.Session, url: str, run: FinishedRun, text: str) -> Prediction:
    """The prediction of one sentence. Raises InputError with the server's own words where it refuses."""
    sentence = Sentence(id="", text=text, entities=None)
    if not text.strip():  # nothing can be in it
        nothing = write_answer(run.answer_format, Sentence(id="", text=text, entities=()))
        return read_prediction(run.answer_format, sentence, nothing, "stop")
    try:
        answer = session.post(f"{url}/v1/chat/completions", json=request_of(run, text), timeout=SECONDS_TO_ANSWER)
    except requests.RequestException as error:
        raise InputError(
            f"no server answers at {url} ({error}); start one with\n    python scripts/serve_runs.py --runs {run.name}"
        ) from error
    if answer.status_code == 401:
        raise InputError(f"{url} wants an API key, or another one: --api-key-file, or {KEY_VARIABLE}")
    if not answer.ok:
        raise InputError(f"{url} refuses {text[:30]!r} with status {answer.status_code}: {answer.text[:500]}")
    choice = answer.json()["choices"][0]
    return read_prediction(run.answer_format, sentence, choice["message"]["content"] or "", choice["finish_reason"])


def extract(
    sentences: Iterable[str], run: FinishedRun, url: str, key: str | None = None, concurrency: int = 32
) -> Iterator[dict[str, Any]]:
    """The entities of each sentence, in order, with at most `concurrency` requests under way.

    Sentences are read as they are needed, so `sentences` may have no end. docs/contracts.md explains the keys.
    """
    waiting: deque[Future[Prediction]] = deque()
    sentences = iter(sentences)
    with connect(key, concurrency) as session, ThreadPoolExecutor(concurrency) as pool:
        try:
            while True:
                for text in itertools.islice(sentences, 2 * concurrency - len(waiting)):
                    waiting.append(pool.submit(ask, session, url, run, text))
                if not waiting:
                    return
                prediction = waiting.popleft().result()
                yield {
                    "text": prediction.text,
                    "entities": [mention.to_dict() for mention in prediction.pred],
                    "raw": prediction.raw,
                    "finish_reason": prediction.finish_reason,
                    "status": prediction.status,
                }
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
