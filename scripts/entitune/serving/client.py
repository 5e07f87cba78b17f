"""Ask a server for the entities of sentences: connections, repeated requests, and several requests at a time.

Needs urllib3 (every environment has it).
"""

from __future__ import annotations

import functools
import json
import random
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import urllib3

from entitune.cli import InputError
from entitune.prompting.confidence import Token
from entitune.prompting.windows import Room, Span, split
from entitune.serving.chat_requests import MAX_CONSTRAINED
from entitune.serving.finished_runs import KEY_VARIABLE, FinishedRun
from entitune.serving.run_requests import REFUSED, TOO_LONG, Answer, read_answer_to, request_of, version_of

SECONDS_AWAY = 30
"""How long requests are repeated while the server does not respond."""
SECONDS_BUSY = 120
"""How long requests are repeated while the server answers that it is busy."""
SECONDS_TO_CONNECT = 5
SECONDS_TO_ANSWER = 300
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds between two attempts. The pause doubles each time."""
ANSWERS_AHEAD = 16
"""How many answers may wait for an earlier one, per concurrent request."""
BUSY = (408, 429, 503)
BROKEN = (500, 502, 504)
"""HTTP status of a server or proxy whose engine is stopping. The client treats it as away."""


class ServerError(InputError):
    """No sentence can be answered.

    `kind` is "away", "busy", "key" (the server requires another API key), "other" (another server, or another version
    of the run) or "broken".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def normalised(url: str) -> str:
    """Return the address of a server without a final slash or /v1. Raises InputError if it is not an HTTP address."""
    parts = urllib.parse.urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port beyond 65535
        usable = False
    if not usable or parts.query or parts.fragment:
        raise InputError(f"{url!r} is not the address of a server; expected one such as http://127.0.0.1:8000")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class Client:
    """A client of a server, for one run. Threads may share it."""

    def __init__(
        self,
        url: str,
        run: FinishedRun,
        key: str | None = None,
        concurrency: int = 1,
        seconds_away: float = SECONDS_AWAY,
        seconds_busy: float = SECONDS_BUSY,
        confidence: bool = False,
    ) -> None:
        """`confidence` asks for the confidence of each mention, even if the run's decode settings do not."""
        self.url = normalised(url)
        self.run = run
        self.confidence = confidence or run.decode.confidence
        self.seconds_away, self.seconds_busy = seconds_away, seconds_busy
        self.away_since: float | None = None
        """When the server stopped responding; None while it responds."""
        self.closed = threading.Event()
        # urllib3 ignores proxies and .netrc of the environment, which are for the internet
        self.pool = urllib3.connection_from_url(
            self.url,
            maxsize=concurrency,
            retries=False,
            timeout=urllib3.Timeout(connect=SECONDS_TO_CONNECT, read=SECONDS_TO_ANSWER),
            headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
        )
        self.path = urllib.parse.urlsplit(self.url).path

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and end the pauses of threads that wait for the server."""
        self.closed.set()
        self.pool.close()

    def check(self) -> None:
        """Raise ServerError if the server does not serve the run, or serves another version of it."""
        status, content = self.call("GET", "/v1/models")
        if status != 200:
            raise self.error(status, content)
        try:
            served = {model["id"]: model for model in json.loads(content)["data"]}
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError("other", f"{self.url} does not answer as a server of OpenAI's API ({error!r})") from error
        if self.run.name not in served:
            raise ServerError("other", f"{self.url} does not serve {self.run.name}; it serves {', '.join(served)}")
        version = served[self.run.name].get("version")  # only servers of serve_runs.py have it
        if version not in (None, version_of(self.run)):
            raise ServerError(
                "other",
                f"{self.url} serves another version of run {self.run.name} than results/ holds (another seed, or the "
                "run has been trained again): restart the server, or give the --seed that it was started with",
            )

    def ask(self, text: str) -> Answer:
        """Return the answer to one sentence. Raises ServerError if no sentence can be answered.

        If the run's dataset has windows, a sentence that is too long is asked in the windows that the pipeline would
        split it into, one after the other.
        """
        if not self.run.windows:
            return self._ask_whole(text)[0]
        if len(text) <= MAX_CONSTRAINED:
            answer, prompt = self._ask_whole(text)
            if answer.status != TOO_LONG and (prompt is None or self.room.has(prompt)):
                return answer
        try:
            spans = split(text, lambda start, end: self._has_room(text[start:end]))
        except ValueError:
            spans = [Span(0, len(text))]
        answers = [self._ask_whole(text[start:end])[0] for start, end in spans]
        return answers[0] if len(answers) == 1 else Answer.joined(spans, answers, len(text))

    def _ask_whole(self, text: str) -> tuple[Answer, int | None]:
        """Return the answer to a sentence or window, and the length of its prompt in tokens (None if unknown)."""
        if not text.strip():
            return read_answer_to(self.run, text, None, "stop"), None
        return self._post(text, request_of(self.run, text, self.confidence))

    def _post(self, text: str, request: dict[str, Any]) -> tuple[Answer, int | None]:
        """Return the answer to a request about a sentence, and the length of its prompt in tokens (None if unknown)."""
        status, content = self.call("POST", "/v1/chat/completions", json.dumps(request).encode())
        if status == 200:
            try:
                found = json.loads(content)
                choice = found["choices"][0]
                raw, finish_reason = choice["message"]["content"] or "", choice["finish_reason"]
                prompt = found["usage"]["prompt_tokens"] if self.run.windows else None
                recorded = choice["logprobs"]["content"] if "logprobs" in request else None
                tokens = None if recorded is None else [Token(one["token"], one["logprob"]) for one in recorded]
            except (ValueError, KeyError, IndexError, TypeError) as error:
                message = f"{self.url} does not answer as a server of OpenAI's API ({error!r})"
                raise ServerError("other", message) from error
            return read_answer_to(self.run, text, raw, finish_reason, tokens), prompt
        refusal = self.error(status, content)
        if refusal.kind != "refused":
            raise refusal
        reason = message_in(content)
        too_long = status == 413 or "maximum context length" in reason
        return Answer((), "", None, TOO_LONG if too_long else REFUSED, reason), None

    def _count(self, text: str) -> tuple[Answer, int | None]:
        """Ask for an answer of one token, to learn the length of a sentence's prompt in tokens. Returns both."""
        request = {**request_of(self.run, text), "max_tokens": 1}
        request.pop("structured_outputs", None)
        return self._post(text, request)

    def _has_room(self, text: str) -> bool:
        """Return whether a part of a sentence can be asked. A refused part counts: its answer has the reason."""
        answer, prompt = self._count(text)
        return answer.status == REFUSED or (prompt is not None and self.room.has(prompt))

    @functools.cached_property
    def room(self) -> Room:
        """The room for a prompt by the run's decode settings."""
        decode, repeats = self.run.decode, self.run.answer_format == "brackets"
        empty = (self._count("")[1] or 0) if repeats else 0
        return Room(decode.max_model_len, decode.max_tokens, empty, self.run.answer_format)

    def error(self, status: int, content: bytes) -> ServerError:
        """Return the error for a status other than 200. Its kind is "refused" if it concerns this request alone."""
        message = f"{self.url} answers with status {status}: {message_in(content)}"
        if status == 401:
            how = f"set it with --api-key-file or {KEY_VARIABLE}"
            return ServerError("key", f"{self.url} requires an API key, or another one; {how}")
        if status in (403, 404) or status < 400:
            return ServerError("other", message)
        if status in BUSY:
            return ServerError("busy", f"{message} (for {self.seconds_busy:g} s)")
        return ServerError("broken" if status >= 500 else "refused", message)

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request and return the status and content of the response. Repeat it while the server is away or busy.

        Raises ServerError if it is away for too long.
        """
        pause, busy_since = FIRST_PAUSE, None
        while True:
            try:
                answer = self.pool.urlopen(method, self.path + path, body=body, redirect=False)
            except urllib3.exceptions.ReadTimeoutError as error:
                raise ServerError("away", f"{self.url} has not answered within {SECONDS_TO_ANSWER} s") from error
            except urllib3.exceptions.HTTPError as error:
                self.note_away(str(error), error)
            else:
                if answer.status in BROKEN:
                    self.note_away(f"status {answer.status}: {message_in(answer.data)}")
                else:
                    self.away_since = None
                    if answer.status not in BUSY:
                        return answer.status, answer.data
                    busy_since = busy_since or time.monotonic()
                    if time.monotonic() - busy_since > self.seconds_busy:
                        return answer.status, answer.data
            if self.closed.wait(pause * random.uniform(0.5, 1)):
                raise ServerError("away", "the client was closed")
            pause = min(2 * pause, LONGEST_PAUSE)

    def note_away(self, why: str, error: Exception | None = None) -> None:
        """Note that the server did not respond. Raises ServerError if this has lasted for `seconds_away`."""
        now = time.monotonic()
        since = self.away_since = self.away_since or now
        if now - since >= self.seconds_away:
            raise ServerError(
                "away",
                f"no server answers at {self.url} ({why}); start one with\n"
                f"    python scripts/serve_runs.py --runs {self.run.name}",
            ) from error


def message_in(content: bytes) -> str:
    """Return the message of an error in the form of OpenAI's API, or the beginning of any other content."""
    try:
        error = json.loads(content)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return content[:500].decode("utf-8", "replace")


def ask_all(client: Client, sentences: Iterable[str], concurrency: int) -> Iterator[Answer]:
    """Yield the answer to each sentence, in order, with at most `concurrency` concurrent requests.

    Sentences are read as they are needed, so `sentences` may be endless.
    """
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            for text in sentences:
                waiting.append(pool.submit(client.ask, text))
                # The server must have work while one answer takes long, so later answers wait for it here.
                while waiting and (waiting[0].done() or len(waiting) >= ANSWERS_AHEAD * concurrency):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            client.closed.set()
            pool.shutdown(wait=False, cancel_futures=True)


def extract(
    sentences: Iterable[str], run: FinishedRun, url: str, key: str | None = None, concurrency: int = 64
) -> Iterator[dict[str, Any]]:
    """Yield the entities of each sentence, in order; docs/contracts.md explains the keys.

    Raises ServerError if the server is away, requires another API key, or does not serve the run.
    """
    with Client(url, run, key, concurrency) as client:
        client.check()
        texts: deque[str] = deque()

        def noted() -> Iterator[str]:
            for text in sentences:
                texts.append(text)
                yield text

        for answer in ask_all(client, noted(), concurrency):
            yield {"text": texts.popleft(), **answer.to_dict()}
