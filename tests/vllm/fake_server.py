"""A server that speaks as vLLM does, over a real tiny language model; it can also misbehave."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

NAME = "served-tiny"
CONTEXT = 512
JSON = "application/json"


class FakeVllm(ThreadingHTTPServer):
    """Answers greedily.

    Attributes:
        behaviour: What it does to a streamed question: ``well``, ``refuses``, ``wants a key``,
            ``fails``, ``dies``, ``reports an error``, ``never ends``, ``aborts``, ``babbles``.
        questions: The streamed requests so far.
        keys: Their authorizations.
        go_on: Cleared, an answer waits after its second token.
        dropped: Set when a client left before its answer's end.
    """

    daemon_threads = True

    def __init__(self, llm, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.llm = llm
        self.behaviour = "well"
        self.card = {"max_model_len": CONTEXT}
        self.questions = []
        self.keys = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.dropped = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def stop(self):
        self.go_on.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        self.dropped.set()

    @torch.no_grad()
    def embed(self, request):
        if "prompt" in request:
            return self.llm.get_input_embeddings()(torch.tensor(request["prompt"]))
        content = io.BytesIO(base64.b64decode(request["prompt_embeds"], validate=True))
        return torch.load(content, weights_only=True)

    @torch.no_grad()
    def answer(self, request):
        ids = self.llm.generate(
            inputs_embeds=self.embed(request)[None],
            max_new_tokens=request["max_tokens"],
            min_new_tokens=request["min_tokens"],
            do_sample=False,
            pad_token_id=2,
        )
        return ids[0].tolist()

    @torch.no_grad()
    def scores(self, request):
        logits = self.llm(inputs_embeds=self.embed(request)[None]).logits[0, -1]
        top = logits.log_softmax(-1).topk(request["logprobs"])
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return {f"token_id:{i}": value for i, value in pairs}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeVllm

    def log_message(self, *args):
        pass

    def do_GET(self):
        card = {"id": NAME, **self.server.card}
        self.reply(200, json.dumps({"data": [card]}))

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        width = self.server.llm.config.hidden_size
        if self.server.embed(request).shape[-1] != width:
            self.refuse(400, f"`prompt_embeds` does not match the model's hidden_size {width}.")
        elif not request.get("stream"):
            scores = self.server.scores(request)
            choice = {"logprobs": {"top_logprobs": [scores]}}
            self.reply(200, json.dumps({"choices": [choice]}))
        else:
            self.server.questions.append(request)
            self.server.keys.append(self.headers.get("Authorization"))
            self.question(request)

    def question(self, request):
        match self.server.behaviour:
            case "refuses":
                self.refuse(400, "You must set `--enable-prompt-embeds` to input `prompt_embeds`.")
            case "wants a key":
                self.refuse(401, "Unauthorized")
            case "fails":
                self.refuse(500, "EngineCore encountered an issue.")
            case "babbles":
                self.reply(200, "data: <html>hello</html>\n\n", "text/event-stream")
            case _:
                self.stream(request)

    def stream(self, request):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        answer = self.server.answer(request)
        is_whole = self.server.behaviour not in ("never ends", "aborts")
        for count, token in enumerate(answer, start=1):
            is_last = is_whole and count == len(answer)
            self.part([token], "length" if is_last else None)
            if count == 2:
                if self.server.behaviour == "aborts":
                    self.part([], "abort")
                    break
                if self.server.behaviour == "dies":
                    self.connection.shutdown(2)
                    return
                if self.server.behaviour == "reports an error":
                    self.event({"error": {"message": "EngineCore died.", "code": 500}})
                self.wait()
        if self.server.behaviour != "never ends":
            self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def wait(self):
        """Wait until told to go on, or until the client has left."""
        self.connection.settimeout(0.01)
        while not self.server.go_on.is_set():
            try:
                if not self.connection.recv(1):
                    raise ConnectionResetError
            except TimeoutError:
                continue
        self.connection.settimeout(None)

    def part(self, ids, reason):
        self.event({"choices": [{"token_ids": ids, "finish_reason": reason}]})

    def event(self, content):
        self.chunk(f"data: {json.dumps(content)}\n\n".encode())

    def chunk(self, content):
        self.wfile.write(b"%X\r\n%s\r\n" % (len(content), content))

    def refuse(self, status, message):
        self.reply(status, json.dumps({"error": {"message": message, "code": status}}))

    def reply(self, status, content, kind=JSON):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())
