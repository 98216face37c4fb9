//go:build !linux

package doctor

import (
	"context"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// kernel has nothing to look at: bottles run in a VM of the engine's.
func (h Host) kernel(context.Context) []bottle.Finding { return nil }
