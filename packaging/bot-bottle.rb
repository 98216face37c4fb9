# Written by scripts/release.
class BotBottle < Formula
  desc "Run AI coding agents unattended, each in an isolated bottle"
  homepage "https://github.com/bot-bottle/bot-bottle"
  version "@VERSION@"
  license "Apache-2.0"

  base = "https://github.com/bot-bottle/bot-bottle/releases/download/v#{version}/bot-bottle-#{version}"
  on_macos do
    on_arm do
      url "#{base}-darwin-arm64.tar.gz"
      sha256 "@DARWIN_ARM64@"
    end
    on_intel do
      url "#{base}-darwin-amd64.tar.gz"
      sha256 "@DARWIN_AMD64@"
    end
  end
  on_linux do
    on_arm do
      url "#{base}-linux-arm64.tar.gz"
      sha256 "@LINUX_ARM64@"
    end
    on_intel do
      url "#{base}-linux-amd64.tar.gz"
      sha256 "@LINUX_AMD64@"
    end
  end

  depends_on "git"

  def install
    bin.install Dir["bot-bottle-*"].first => "bot-bottle"
    man1.install Dir["share/man1/*"]
    bash_completion.install "share/completions/bot-bottle.bash" => "bot-bottle"
    zsh_completion.install "share/completions/_bot-bottle"
    fish_completion.install "share/completions/bot-bottle.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/bot-bottle version")
  end
end
