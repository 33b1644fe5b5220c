"""Patches on their way: from text to a commit, and from a commit to what readers see of it."""

from collections.abc import Sequence

from anyio import to_thread

from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.secrets import find_secrets
from delm_mcp.domain.model import Entry, Evidence, Run
from delm_mcp.domain.patches import Changes, base_of
from delm_mcp.domain.text import fenced, one_line, shortened, visible
from delm_mcp.errors import InvalidInput, NotFound

_LISTED = 8
_SAME_LEASE = "Propose it with the same lease."
_WITHOUT_COMMIT = "the diff says what it was made on with ref=patch@<full commit>, else head is meant"


async def committed(repo: GitRepo, run: Run, entry: Entry, item: Evidence) -> str:
    """The commit that a patch's text makes on its base: the same one each time.

    Raises:
        InvalidInput, NotFound: The text makes none; says why, and what would.
        CheckUnavailable: git could not run.
    """
    base = base_of(item) or run.base
    try:
        base = await repo.resolve(base)
    except NotFound:
        raise NotFound(
            f"The server's repository has no commit {base[:80]}, which the patch names as its base.",
            f"Name head {run.head} or a commit before it, or leave it out: ref=patch.",
        ) from None
    if not await repo.is_ancestor(base, run.head):
        raise InvalidInput(
            f"The patch's base {base[:12]} is not part of head {run.head[:12]}, so more than its text "
            "would come.",
            f"Make the diff against a commit of head's history, or against head {run.head} itself.",
        )
    tree = await repo.tree_of(base)
    applied = await repo.apply(tree, item.text)
    if applied.conflicts:
        raise InvalidInput(
            f"The patch does not apply on {base[:12]}: conflicts in {named(applied.conflicts)}.",
            f"Bring your files up to head and make the diff again; {_WITHOUT_COMMIT}. {_SAME_LEASE}",
        )
    if applied.problem:
        raise InvalidInput(
            f"The patch does not apply on {base[:12]}: {applied.problem}.",
            f"Pass what `git diff --binary` prints, unchanged; {_WITHOUT_COMMIT}. {_SAME_LEASE}",
        )
    if applied.tree == tree:
        raise InvalidInput(f"The patch changes nothing on {base[:12]}.", "Propose a diff that does.")
    message = f"{entry.label}: {one_line(entry.gist)}\n\nFrom a patch's text, applied by delm-mcp."
    return await repo.commit_tree(
        applied.tree, [base], message, author=entry.agent, when_s=int(entry.proposed_at)
    )


async def changes(repo: GitRepo, head: str, commit: str, tree: str) -> Changes:
    """What a patch that was merged to `tree` changes at head, to be shown and stored.

    A secret in it is not stored.
    """
    found = await repo.difference(await repo.tree_of(head), tree)
    secrets = await to_thread.run_sync(find_secrets, found.text)
    if secrets:
        kinds = ", ".join(sorted(set(secrets)))
        return Changes(head, commit, "", found.left_out, f"withheld: it contained a secret ({kinds})")
    plain = visible(found.text) == found.text
    note = "" if plain else "some of its characters (CR LF, hidden ones) do not stand here as in the files"
    return Changes(head, commit, found.text, found.left_out, note)


def named(paths: Sequence[str]) -> str:
    """File names, which come from what agents committed."""
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return ", ".join(fenced(shortened(path, 120)) for path in paths[:_LISTED]) + more
