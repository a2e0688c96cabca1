"""An export uploaded to the Hugging Face hub, by huggingface_hub and the token of the environment."""

import os
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from backend.core.errors import UserError

TOKEN_VARIABLE = "HF_TOKEN"


def require_token() -> str:
    """The token of the environment. Raises UserError where there is none."""
    hub_token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not hub_token:
        raise UserError(
            f"push needs a token of the hub in {TOKEN_VARIABLE}, with the right to write; "
            "set it where the worker is started, or leave push out.",
            f"push 需要环境变量 {TOKEN_VARIABLE} 中有写权限的 Hub 令牌；请在启动工作进程处设置，或不填 push。",
        )
    return hub_token


def upload_folder(folder: Path, repository_id: str, hub_token: str, *, public: bool) -> str:
    """Upload every file of `folder` as one commit and return its address; the repository is created where it is not.

    An existing repository stays as public or private as it is. Raises UserError where the hub refuses or is not
    reached.
    """
    hub = HfApi(token=hub_token)
    try:
        hub.create_repo(repository_id, private=not public, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository_id, folder_path=folder, commit_message=f"Upload {folder.name} from Zhufu"
        )
    except (HfHubHTTPError, HTTPError, OfflineModeIsEnabled, OSError) as error:
        # A full disk or an unreadable file is this machine's, and has a sentence of its own.
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise
        cause = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"The hub did not take “{repository_id}” ({cause}); the export lies in {folder}. Check the name, the "
            f"rights of {TOKEN_VARIABLE} and the network.",
            f"Hub 没有接受“{repository_id}”（{cause}）；导出的文件在 {folder}。"
            f"请检查名称、{TOKEN_VARIABLE} 的权限和网络。",
        ) from error
    return str(commit.commit_url)
