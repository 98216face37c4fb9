package provision

// SuperviseNote is what an agent is told of its operator, after its own prompt.
const SuperviseNote = `You work in a bottle: a machine without a network, but for what its operator allows. What is not allowed is
refused with HTTP 403 and a JSON body that says why, or its name does not resolve. Do not look for ways around it. The MCP
server "operator" has tools to see what is allowed and what is left of the limits (list_policy); to ask for a host (request_egress), a repository or a push
(request_git), a login to a host (request_secret), a program that is missing (request_capability), more of a limit (request_limit), or a
person's answer (ask_operator); and to wait for the decision (check_request), see what you asked for (list_requests), or take it back (cancel_request). Ask for
the least that does it, and go on with other work meanwhile.`
