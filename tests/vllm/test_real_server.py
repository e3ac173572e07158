"""The vLLM engine against vLLM itself: ``make test-vllm``.

``$SKINGPT4_VLLM_PYTHON`` names the Python of an environment that holds vLLM; without it these tests
are skipped.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from skingpt4.common.config import Config
from skingpt4.common.errors import ChatError
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.conversation.engines import Decoding
from skingpt4.conversation.engines.vllm_engine import VllmEngine
from skingpt4.dermatology import QUESTIONS
from skingpt4.models.skin_gpt4 import SkinGPT4
from tests.conftest import PROJECT
from tests.waiting import free_port, wait_for

PYTHON = os.environ.get("SKINGPT4_VLLM_PYTHON")
CONFIG = PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml"
LLM = PROJECT / "weights" / "skingpt4-tiny" / "llm"
EXAMPLES = sorted((PROJECT / "skingpt4" / "demo" / "examples").glob("*.jpg"))
SERVER = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(LLM)]
OPTIONS = ["--enable-prompt-embeds", "--host", "127.0.0.1", "--dtype", "float32"]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # On one core, so that another is left for the server's own work and the tests.
    "VLLM_CPU_OMP_THREADS_BIND": "0",
}
START_SECONDS = 300
USERS = 16

pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="vLLM is not installed here; run: make test-vllm"),
    pytest.mark.timeout(600),
]


class RealServer:
    """vLLM in a process group of its own, on a port that was free."""

    def __init__(self, log):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [PYTHON, *SERVER, *OPTIONS, "--port", str(port)],
                env=os.environ | ENVIRONMENT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self):
        def is_ready():
            assert self.process.poll() is None, f"vLLM ended:\n{self.log.read_text()[-3000:]}"
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/health", trust_env=False).is_success
            return False

        wait_for(is_ready, START_SECONDS)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


LONGEST = 940
"""Tokens of an answer that just fits the embedded model's 1,024 positions."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = RealServer(tmp_path_factory.mktemp("vllm") / "log.txt")
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="module")
def in_process():
    return load_chat(CONFIG, device="cpu")


@pytest.fixture(scope="module")
def chat(server):
    options = ["model.engine=vllm", f"model.engine_url={server.url}"]
    return load_chat(CONFIG, options, device="cpu")


def consult(chat, photo):
    """Ask the paper's four questions; return the answers and how many tokens they took."""
    conv, embeddings, answers, tokens = chat.new_conversation(), [], [], 0
    chat.upload_img(photo, conv, embeddings)
    for question in QUESTIONS:
        chat.ask(question, conv)
        text, ids = chat.answer(conv, embeddings)
        answers.append(text)
        tokens += len(ids)
    return answers, tokens


def all_at_once(chat):
    start = time.perf_counter()
    with ThreadPoolExecutor(USERS) as pool:
        results = list(pool.map(lambda i: consult(chat, EXAMPLES[i % len(EXAMPLES)]), range(USERS)))
    seconds = time.perf_counter() - start
    return [answers for answers, _ in results], sum(tokens for _, tokens in results) / seconds


def prompt(chat):
    conv, embeddings = chat.new_conversation(), []
    chat.upload_img(EXAMPLES[0], conv, embeddings)
    before, after = conv.get_prompt().split("<ImageHere>")
    segments = [before, embeddings[0], f"{after} {QUESTIONS[0]}###Assistant:"]
    return chat.engine.prompts.encode(segments)


def test_greedy_answers_are_those_of_this_process(chat, in_process):
    for photo in EXAMPLES:
        assert consult(chat, photo) == consult(in_process, photo)


def test_sixteen_conversations_at_once_finish_sooner_than_in_process(chat, in_process):
    expected, alone = all_at_once(in_process)
    answers, served = all_at_once(chat)
    assert answers == expected
    assert served > alone


def test_seeds_repeat_answers_and_differ(chat):
    decoding = Decoding(temperature=1.5, top_p=1.0, max_new_tokens=30)
    first, again = (dict(chat.engine.draw(prompt(chat), decoding, range(6))) for _ in range(2))
    assert first == again
    assert sorted(first) == list(range(6))
    assert len(set(map(tuple, first.values()))) > 1


def test_stopping_frees_the_server(chat, server):
    """Several at once: the server would finish one before its first word is read here."""
    before = metric(server, "vllm:generation_tokens_total")
    decoding = Decoding(max_new_tokens=LONGEST, min_length=LONGEST)
    with ThreadPoolExecutor(USERS) as pool:
        streams = begin_many(chat, pool, decoding)
        list(pool.map(lambda stream: stream.close(), streams))
    wait_for(lambda: metric(server, "vllm:num_requests_running") == 0)
    assert metric(server, "vllm:generation_tokens_total") - before < 0.9 * USERS * LONGEST


def begin_many(chat, pool, decoding):
    streams = [chat.engine.stream(prompt(chat), decoding) for _ in range(USERS)]
    list(pool.map(next, streams))
    return streams


def metric(server, name):
    lines = httpx.get(f"{server.url}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("width", "sentence"), [(192, "embeds text otherwise"), (96, "hidden_size 96 does not match")]
)
def test_another_model_is_refused(server, in_process, tmp_path, width, sentence):
    """The server's model is the embedded one; this process believes in another."""
    torch.manual_seed(1)
    config = LlamaForCausalLM.from_pretrained(LLM).config
    config.hidden_size, config.intermediate_size = width, 64
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(LLM).save_pretrained(tmp_path)
    section = Config.load(CONFIG).model
    section = dataclasses.replace(
        section, llm_model=str(tmp_path), ckpt="", engine="vllm", engine_url=server.url
    )
    model = SkinGPT4.from_config(section).eval()
    other = Chat(model, in_process.vis_processor, engine=VllmEngine(model, section))
    with pytest.raises(ChatError, match=sentence):
        consult(other, EXAMPLES[0])


def test_a_server_that_is_killed_in_mid_answer_is_one_sentence(chat, server):
    """The last test: it leaves no server. Others keep it busy, or it would have finished."""
    busy = Decoding(max_new_tokens=LONGEST, min_length=LONGEST)
    with ThreadPoolExecutor(USERS) as pool:
        others = begin_many(chat, pool, busy)
    conv, embeddings = chat.new_conversation(), []
    chat.upload_img(EXAMPLES[0], conv, embeddings)
    before = conv.copy()
    for sentence in (r"broke off in the middle", r"cannot be reached"):
        chat.ask(QUESTIONS[0], conv)
        stream = chat.stream_answer(conv, embeddings, max_new_tokens=LONGEST, min_length=LONGEST)
        with pytest.raises(ChatError, match=sentence):
            for _ in stream:
                server.kill()
        assert conv == before
    for other in others:
        other.close()
