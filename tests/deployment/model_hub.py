"""A hub of models in this process: the calls of huggingface_hub that pushing and fetching make, and the files."""

import base64
import contextlib
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_right"


class Hub(ThreadingHTTPServer):
    """The state of the hub: of each repository its files after each commit, oldest first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.cards: list[str] = []  # checked headers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, files: dict[str, bytes]) -> str:
        """A commit with these files, and its number."""
        commits = self.repositories.setdefault(name, {})
        commit = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[commit] = files
        return commit

    def at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commits = self.repositories.get(name, {})
        revision = next(reversed(commits), "") if revision == "main" else revision
        return (revision, commits[revision]) if revision in commits else None


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = self._parts()
        match parts:
            case ["api", "whoami-v2"]:
                right = self.headers["Authorization"] == f"Bearer {TOKEN}"
                self._answer(
                    {"name": "me", "type": "user"} if right else {"error": "Invalid token"}, 200 if right else 401
                )
            case ["api", "models", owner, name, "tree", revision, *_]:
                found = self._found(f"{owner}/{name}", revision)
                if found is not None:
                    self._answer([self._entry(path, content) for path, content in found[1].items()])
            case ["api", "models", owner, name, *rest]:
                found = self._found(f"{owner}/{name}", rest[-1] if rest else "main")
                if found is not None:
                    siblings = [{"rfilename": path} for path in found[1]]
                    self._answer({"id": f"{owner}/{name}", "sha": found[0], "siblings": siblings})
            case [owner, name, "resolve", revision, *path]:
                found = self._found(f"{owner}/{name}", revision)
                if found is not None:
                    self._file(found[0], found[1]["/".join(path)])

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self._parts():
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                name = f"{asked.get('organization', 'me')}/{asked['name']}"
                exists = name in self.server.repositories
                if not exists:
                    self.server.private[name] = asked.get("private", asked.get("visibility") == "private")
                    self.server.add(name, {})
                self._answer({"url": f"{self.server.url}/{name}"}, 409 if exists else 200)
            case ["api", "validate-yaml"]:
                self.server.cards.append(json.loads(body)["content"])
                self._answer({"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", _]:
                files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
                self._answer({"files": [{**file, "shouldIgnore": False} for file in files]})
            case ["api", "models", owner, name, "commit", _]:
                commit = self._commit(f"{owner}/{name}", [json.loads(line) for line in body.splitlines()])
                url = f"{self.server.url}/{owner}/{name}/commit/{commit}"
                self._answer({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _commit(self, name: str, operations: list[dict]) -> str:
        files = dict(self.server.at(name, "main")[1])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        return self.server.add(name, files)

    def _parts(self) -> list[str]:
        return [urllib.parse.unquote(part) for part in urllib.parse.urlsplit(self.path).path.strip("/").split("/")]

    def _found(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        found = self.server.at(name, revision)
        if found is None:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        return found

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _file(self, commit: str, content: bytes):
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        self._send(content, 200, {"ETag": etag, "X-Repo-Commit": commit, "Content-Type": "application/octet-stream"})

    def _answer(self, values: Any, status: int = 200, headers: dict[str, str] | None = None):
        self._send(json.dumps(values).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, status: int, headers: dict[str, str]):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: Any):
        """Nothing is printed."""
