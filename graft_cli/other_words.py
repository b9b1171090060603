"""Maps command names of other tools to what graft offers instead. Pure."""

_PAST = "graft sql and graft shell read an old version with --at, graft export writes it to a file"
_BACK = "graft pull --policy discard discards local commits; graft restore VERSION brings an older version back"
_LISTED = "graft volumes REMOTE lists the volumes of a remote"
_SQL = "graft sql runs statements, graft shell opens a prompt"
_COMMITTED = "every SQL transaction is a local commit already; graft push -m MESSAGE sends them"
_MERGED = (
    "graft pull --policy merge merges rows that two replicas wrote; --policy discard or fork decides between histories"
)
_DELETED = (
    "SQL deletes rows and tables; rm -r deletes a replica (graft status shows what is not pushed); "
    "graft rm removes a volume with its history"
)
_TIDIED = "graft gc deletes what no retained version needs; graft compact rewrites the newest version for cold readers"

INSTEAD = {
    "add": _COMMITTED,
    "annotate": "graft blame shows which commit last changed each row",
    "auth": "credentials come from the usual AWS variables and profiles; graft doctor REMOTE checks them",
    "backup": "graft export writes a version to a file; graft push stores commits in the remote",
    "bisect": _PAST,
    "check": "graft verify reads and checks a volume, graft doctor checks a replica or a remote",
    "checkout": f"{_PAST}; graft switch goes to another branch, graft switch -c makes one",
    "commit": _COMMITTED,
    "config": "settings are in the URL of the remote, in AWS variables, or in graft.Settings",
    "connect": f"{_SQL}; in Python, graft_sqlite_vfs.connect(DIR)",
    "copy": "graft cp copies a volume; graft clone creates a replica of one, graft fork a branch",
    "create": "graft init creates an empty volume, graft import one from a database file",
    "delete": _DELETED,
    "destroy": _DELETED,
    "download": "graft clone creates a replica, graft hydrate fetches all its pages, graft export writes a plain file",
    "drop": _DELETED,
    "dump": "graft export writes a version to a plain SQLite file",
    "exec": _SQL,
    "execute": _SQL,
    "fsck": "graft verify reads and checks a volume, graft doctor checks a replica or a remote",
    "help": "graft --help lists the commands, graft COMMAND --help explains one",
    "info": "graft status describes a replica, graft doctor the installation",
    "list": _LISTED,
    "load": "graft import loads a database file into a volume",
    "login": "credentials come from the usual AWS variables and profiles; graft doctor REMOTE checks them",
    "ls": _LISTED,
    "ls-remote": _LISTED,
    "new": "graft init creates an empty volume, graft import one from a database file",
    "open": _SQL,
    "optimize": _TIDIED,
    "prune": _TIDIED,
    "query": _SQL,
    "rebase": _MERGED,
    "reflog": "graft log lists the commits of a volume; discarded local commits are gone",
    "remove": _DELETED,
    "rename": "graft mv gives a volume another name",
    "repack": _TIDIED,
    "replicate": "graft clone creates a replica, graft follow keeps it fresh",
    "reset": _BACK,
    "rollback": _BACK,
    "run": _SQL,
    "save": _COMMITTED,
    "select": _SQL,
    "server": "graft serve serves documents; volumes need no server",
    "show": f"graft log lists commits; {_PAST}",
    "snapshot": f"every pushed commit is a snapshot; {_PAST}",
    "sqlite": _SQL,
    "stash": "local commits stay until they are pushed; graft switch -c NAME takes them to a new branch",
    "start": "graft serve serves documents; volumes need no server",
    "sync": "use graft pull and graft push, or graft follow for a reader",
    "undo": _BACK,
    "update": "graft pull moves to the newest version of the remote",
    "upload": "graft push sends local commits, graft import loads a database file into a volume",
    "vacuum": f'graft sql DIR "VACUUM" does what it does in SQLite; {_TIDIED}',
    "watch": "graft follow keeps a replica fresh and reports changes",
    "worktree": "graft clone creates another replica",
}
"""The hint for each unknown command."""
