package e2e

import (
	"os"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/need"
)

// onMachines are the stories that are told once more with bottles in machines, through the stand-in
// for smolvm: what a bottle is for, and what becomes of one that ends in any way.
func onMachines() []string {
	return []string{
		"TestHeadless", "TestAgentRunsATool", "TestInteractive", // the real Claude Code
		"TestAttackA9_RootFindsNoWayOut", "TestAttackA16_NoBundleNoTraffic", "TestAttackC10_TheKeyIsNowhere", "TestAttackC14_NobodyElseCanAsk",
		"TestGitThroughTheGate", "TestHeldPushIsApproved", "TestClaudeAsksAndIsGranted", "TestARepositoryIsAskedForAndGranted", "TestTheOperatorChangesARunningBottle",
		"TestDetachAttachAndHangUp", "TestAFailedResumeLosesNothing", "TestAFailedResumeKeepsHowItEnded", "TestAnAgentIsToldTheColoursOfTheTerminal", "TestResumeContinuesTheConversation",
		"TestAttackJ5_KilledAtAnyInstant", "TestKill9OfEachPart", "TestAViewerThatIsLateLeavesTheNextRunAlone", "TestTheLogOfAKilledBottleStays", "TestResumeTellsHowTheLastRunEnded", "TestCopy",
	}
}

// Invariant 8 with the smolmachines backend. None of its stories may be skipped.
func TestOnMachines(t *testing.T) {
	dockerOnly(t, "it runs the others there")
	t.Parallel()
	if os.Geteuid() != 0 {
		need.Lacking(t, need.Smolvm, "the stand-in makes namespaces")
	}
	again(t, onMachines(), []string{"BOT_BOTTLE_E2E_BACKEND=" + string(smolvm), "BOT_BOTTLE_REQUIRE=docker,smolvm"})
}
