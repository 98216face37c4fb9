package provider

// custom is any command line: the manifest's args are all of it.
func custom() Provider {
	return Provider{
		Template: "custom",
		Image:    "custom",
		Setup:    customSetup,
	}
}

// customSetup tells the program where the prompt and the operator's MCP server are; what to
// do with them is its own affair.
func customSetup(in Input) Setup {
	env := map[string]string{}
	if in.Prompt != "" {
		env["BOT_BOTTLE_PROMPT_FILE"] = PromptFile
	}
	if in.Supervise {
		env["BOT_BOTTLE_MCP_URL"] = SuperviseURL
	}
	argv := append([]string(nil), in.Args...)
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
	}
	return Setup{Argv: argv, Env: env}
}
