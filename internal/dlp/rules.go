package dlp

// table is the shapes of tokens that are looked for. Each is written from what its
// issuer, or anyone who was given one, can see of it: how it begins, which characters
// it has, how long it is, and whether it ends with a checksum.
func table() []rule {
	anthropic := []string{"anthropic.com", "claude.com", "claude.ai"}
	openai := []string{"openai.com", "chatgpt.com"}
	google := []string{"googleapis.com", "google.com"}
	return []rule{
		{id: "private-key", pattern: `-----BEGIN `, custom: privateKey},

		// Models.
		{id: "anthropic-key", pattern: `sk-ant-api[0-9]{2}-[A-Za-z0-9_-]{80,120}`, entropy: 4, hosts: anthropic},
		{id: "anthropic-key", pattern: `sk-ant-admin[0-9]{2}-[A-Za-z0-9_-]{80,120}`, entropy: 4, hosts: anthropic},
		{id: "anthropic-oauth", pattern: `sk-ant-oat[0-9]{2}-[A-Za-z0-9_-]{60,160}`, entropy: 4, hosts: anthropic},
		{id: "anthropic-oauth", pattern: `sk-ant-ort[0-9]{2}-[A-Za-z0-9_-]{60,160}`, entropy: 4, hosts: anthropic},
		{id: "anthropic-session", pattern: `sk-ant-sid[0-9]{2}-[A-Za-z0-9_-]{60,200}`, entropy: 4, hosts: anthropic},
		{id: "openai-key", pattern: `sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}`, entropy: 3, hosts: openai},
		{id: "openai-key", pattern: `sk-proj-[A-Za-z0-9_-]{40,200}`, entropy: 4, hosts: openai},
		{id: "openai-key", pattern: `sk-svcacct-[A-Za-z0-9_-]{40,200}`, entropy: 4, hosts: openai},
		{id: "openai-key", pattern: `sk-admin-[A-Za-z0-9_-]{40,200}`, entropy: 4, hosts: openai},
		{id: "openrouter-key", pattern: `sk-or-v1-[a-f0-9]{64}`, entropy: 3, hosts: []string{"openrouter.ai"}},
		{id: "google-api-key", pattern: `AIza[A-Za-z0-9_-]{35}`, entropy: 3.5, hosts: google},
		{id: "google-oauth-secret", pattern: `GOCSPX-[A-Za-z0-9_-]{28}`, entropy: 3.5, hosts: google},
		{id: "google-access-token", pattern: `ya29\.[A-Za-z0-9_-]{40,}`, entropy: 4, hosts: google},
		{id: "google-refresh-token", pattern: `1//0[A-Za-z0-9_-]{60,120}`, entropy: 4, hosts: google},
		{id: "groq-key", pattern: `gsk_[A-Za-z0-9]{52}`, entropy: 4, hosts: []string{"groq.com"}},
		{id: "xai-key", pattern: `xai-[A-Za-z0-9]{80}`, entropy: 4, hosts: []string{"x.ai"}},
		{id: "perplexity-key", pattern: `pplx-[A-Za-z0-9]{48}`, entropy: 4, hosts: []string{"perplexity.ai"}},
		{id: "huggingface-token", pattern: `hf_[A-Za-z]{34}`, entropy: 4, hosts: []string{"huggingface.co"}},
		{id: "huggingface-token", pattern: `api_org_[A-Za-z]{34}`, entropy: 4, hosts: []string{"huggingface.co"}},
		{id: "replicate-token", pattern: `r8_[A-Za-z0-9]{37}`, entropy: 4, hosts: []string{"replicate.com"}},
		{id: "tavily-key", pattern: `tvly-[A-Za-z0-9-]{32,64}`, entropy: 4, hosts: []string{"tavily.com"}},
		{id: "langsmith-key", pattern: `lsv2_pt_[a-f0-9]{32}_[a-f0-9]{10}`, entropy: 3, hosts: []string{"langchain.com"}},
		{id: "langsmith-key", pattern: `lsv2_sk_[a-f0-9]{32}_[a-f0-9]{10}`, entropy: 3, hosts: []string{"langchain.com"}},
		{id: "cerebras-key", pattern: `csk-[a-z0-9]{48}`, entropy: 4, hosts: []string{"cerebras.ai"}},
		{id: "nvidia-key", pattern: `nvapi-[A-Za-z0-9_-]{60,80}`, entropy: 4, hosts: []string{"nvidia.com"}},
	}
}
