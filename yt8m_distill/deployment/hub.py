"""The Hugging Face hub: exports are pushed to it, and models are fetched from it. Needs the extra `hub`."""

import contextlib
import pathlib
import re
import urllib.parse
from collections.abc import Iterator
from types import ModuleType

from yt8m_distill.errors import UserError
from yt8m_distill.files.untrusted import in_short
from yt8m_distill.files.user_cache import user_cache

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MANIFEST = "*export.json"  # what each file of an export is, wherever in the repository the export is
# Files of a former export that the new one may not have.
_REPLACED = ["saved_model/*", "litert/*", "*.onnx"]


def check_push(name: str):
    """Checks that an export can be pushed, before the export is made.

    Raises:
        UserError: huggingface_hub is missing, `name` is no name of a repository, or the user is not logged in.
    """
    library = _library()
    with _errors_named(f"--push_to_hub={name}"):
        library.utils.validate_repo_id(name)
        library.HfApi().whoami()


def push(folder: pathlib.Path, name: str, *, private: bool = False) -> str:
    """Uploads an export as one commit, and returns the address of it.

    Args:
        folder: of the export.
        name: of the repository, OWNER/NAME; it is created where there is none.
        private: whether a repository that is created is private.

    Raises:
        UserError: the hub refuses or cannot be reached; the export stays.
    """
    api = _library().HfApi()
    with _errors_named(f"the export in '{folder}' is complete, but could not be pushed to {name}"):
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            delete_patterns=_REPLACED,
            commit_message="Export of yt8m_distill",
        )
    return str(commit.repo_url)


def fetch(address: str) -> pathlib.Path:
    """The folder or file that an address stands for, downloaded into the user's cache, where it is kept.

    Args:
        address: `hf://OWNER/NAME`, `hf://OWNER/NAME@REVISION`, each with `/PATH` of a file or folder in it. Where the
            revision is a commit that was fetched before, no network is needed.

    Raises:
        UserError: no such address, model or file, or the hub cannot be reached.
    """
    match = _ADDRESS.fullmatch(address)
    path = ((match and match["path"]) or "").strip("/")
    if match is None or ".." in path.split("/"):
        raise UserError(
            f"'{address}' is not of the form {SCHEME}OWNER/NAME, {SCHEME}OWNER/NAME@REVISION or with /PATH."
        )
    api = _library().HfApi()
    with _errors_named(f"'{address}' could not be fetched"):
        revision = urllib.parse.unquote(match["revision"] or "main")
        commit = revision if _COMMIT.fullmatch(revision) else api.model_info(match["name"], revision=revision).sha
        if not _COMMIT.fullmatch(str(commit)):
            raise UserError(f"the hub names no commit, but {commit!r}")
        # A folder of plain files for each commit: the library's own cache has links, which a run directory may not.
        folder = user_cache() / "hub" / match["name"].replace("/", "--") / commit
        wanted = [path, f"{path}/*", _MANIFEST] if path else None
        api.snapshot_download(match["name"], revision=commit, local_dir=folder, allow_patterns=wanted)
    if not (folder / path).exists():
        raise UserError(f"'{address}': there is no '{path}' in {match['name']} at {revision}.")
    return folder / path


def _library() -> ModuleType:
    try:
        import huggingface_hub.utils
    except ModuleNotFoundError as error:
        raise UserError("huggingface_hub is not installed; pip install 'yt8m_distill[hub]' brings it.") from error
    return huggingface_hub


@contextlib.contextmanager
def _errors_named(what: str) -> Iterator[None]:
    """Whatever the library and its network raise, as a sentence."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{what}: {in_short(error)}.") from error
