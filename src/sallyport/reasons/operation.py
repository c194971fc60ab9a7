"""Reasons of operation: the classes of errors, configuration, commands and the daemon."""

from typing import Final

from sallyport.reasons.reason import Group, Reason


def _operation(code: str, happened: str, means: str, remedy: str, key: str | None = None) -> Reason:
    return Reason(code, Group.OPERATION, happened, means, remedy, key)


def _class(code: str, happened: str, means: str) -> Reason:
    return Reason(code, Group.CLASS, happened, means, "See the reason beside the code.")


_REFUSED = "The call was refused; nothing was opened and nothing was changed."

REASONS: Final = (
    _operation(
        "bad-configuration",
        "The configuration file says something that cannot be meant.",
        "`run` does not start, and `reload` changes nothing.",
        "Correct the lines that the messages name; `sallyport check-config FILE` shows them all.",
    ),
    _operation(
        "bad-declaration",
        "The file of a declarative filter says something that cannot be meant.",
        "The filter cannot run, and so neither can the configuration that names it.",
        "Correct the line that the message names.",
        "filters.NAME.path",
    ),
    _operation(
        "filter-unusable",
        "A filter cannot be loaded or started; the message says why.",
        "The configuration that switches it on cannot be used.",
        "Mend the filter, or switch it off with enabled = false.",
        "filters.NAME.enabled",
    ),
    _operation(
        "startup-failed",
        "The gateway cannot start on this machine as asked.",
        "Nothing runs, and what had been set up was undone.",
        "Do what the message says.",
    ),
    _operation(
        "cannot-wrap",
        "`sallyport wrap` cannot run the program here; the message says why.",
        "The program was not started.",
        "Name the gateway with --gateway, or run it where seccomp user notification is allowed.",
    ),
    _operation(
        "restart-needed",
        "The new configuration changes what only a start can change.",
        "The reload changed nothing; the old configuration is in force.",
        "Restart the gateway, or write the key that the message names as it was.",
    ),
    _operation(
        "no-configuration-file",
        "The gateway was started without a file.",
        "There is nothing to reload.",
        "Restart it with --config FILE.",
    ),
    _operation(
        "cannot-upgrade",
        "The gateway is process 1, whose end is the end of its container.",
        "No other gateway was started; this one goes on.",
        "Start a container of the new release, then stop this one.",
    ),
    _operation(
        "not-ready",
        "The gateway is starting or stopping.",
        "The command was not carried out.",
        "Ask again when `sallyport status` answers.",
    ),
    _operation(
        "worker-lost",
        "A worker process ended, or gave no answer in time.",
        "Its clients' pinholes are closed; another process takes its place, other workers go on.",
        "Ask again in a few seconds. The log says why: look for worker.ended and worker.failed.",
    ),
    _operation(
        "not-running",
        "No gateway listens on the control socket.",
        "The command was not carried out.",
        "Start a gateway, or name its socket with --control-socket.",
        "gateway.control_socket",
    ),
    _operation(
        "not-found",
        "Nothing has this id or code.",
        "The command changed nothing.",
        "List what there is: `sallyport sessions list`, `bindings list`, `reasons`.",
    ),
    _operation(
        "request-refused",
        "The gateway answered a command with an error.",
        "The command was not carried out.",
        "Do what the message says.",
    ),
    _operation(
        "wrong-command-line",
        "The command line names a verb or an option that there is not, or lacks what it needs.",
        "Nothing was asked of the gateway; the exit code is 2.",
        "Do what the message says; `sallyport VERB --help` lists what there is.",
    ),
    _operation(
        "bad-request",
        "The admin API received what is no request, or one with an argument too many or too few.",
        "The request was answered with this error and changed nothing.",
        "Do what the message says, or use the `sallyport` command of the gateway's release.",
    ),
    _operation(
        "method-not-allowed",
        "The admin API was asked by a method that means nothing at that path.",
        "The request was answered with this error and changed nothing.",
        "Use a method that the `allow` header names; `/openapi.json` lists them all.",
    ),
    _operation(
        "not-authenticated",
        "The admin API was asked over TCP without a token that it knows.",
        "The request was answered with this error and changed nothing.",
        "Send the header `Authorization: Bearer TOKEN`, with what the file of the key holds.",
        "admin.control_token_file",
    ),
    _operation(
        "not-permitted",
        "The admin API was asked by a user and groups that have no right to this.",
        "The request was answered with this error and changed nothing.",
        "Ask as root or as the gateway's user, or as a member of the group that the key names.",
        "gateway.control_group",
    ),
    _operation(
        "too-many-askers",
        "More connections to the admin API are open than it serves at once.",
        "The new one was answered with this error.",
        "End streams and pages that are not needed, and ask again.",
    ),
    _operation(
        "bad-question",
        "`sallyport explain` was asked about what is no address, port or time.",
        "The question was not answered.",
        "Write CLIENT as an address, SERVER as ADDRESS or ADDRESS:PORT, and a time as day HH:MM.",
    ),
    _operation(
        "unknown-command",
        "The admin API was asked for a path that this gateway does not have.",
        "The request was answered with this error and changed nothing.",
        "Use the `sallyport` command of the same release as the gateway.",
    ),
    _operation(
        "operator-error",
        "A command cannot be carried out on this machine.",
        "Nothing was changed.",
        "Do what the message says.",
    ),
    _class("error", "An error that Sallyport raised on purpose.", "It was answered, not ignored."),
    _class(
        "protocol-error",
        "A peer sent bytes that its protocol does not allow.",
        "The peer was answered in its own protocol, or the bytes were dropped.",
    ),
    _class("bind-refused", "A call on the gateway was refused.", _REFUSED),
    _class("policy-denied", "The access rules do not allow the protocol here.", _REFUSED),
    _class("address-in-use", "The external address and port are taken.", _REFUSED),
    _class("address-not-available", "The external address is not the gateway's.", _REFUSED),
    _class(
        "address-not-allowed", "A client address or port is outside what the rule allows.", _REFUSED
    ),
    _class("invalid-argument", "The arguments contradict each other.", _REFUSED),
    _class("quota-exceeded", "The client holds as many as its rule or a limit grants.", _REFUSED),
    _class("out-of-resources", "The gateway or its kernel has no room.", _REFUSED),
    _class("terminating", "What the call is about is ending or has ended.", _REFUSED),
    _class("bad-context", "The call is not legal at this moment or on this object.", _REFUSED),
    _class("already-emulated", "A filter has taken the connection's place before.", _REFUSED),
    _class("not-emulated", "The call is for emulated connections only.", _REFUSED),
    _class("already-exists", "There is one, and there cannot be a second.", _REFUSED),
    _class("no-such-bind", "The client has bound nothing there.", _REFUSED),
    Reason(
        "kernel-error",
        Group.CLASS,
        "The kernel refused an operation; `error` in the record names it and its number.",
        _REFUSED,
        "Compare the kernel with what the README requires; report the record if it suffices.",
    ),
)
