package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Limits bound what a route, or all of a bottle, may use within any stretch of time as
// long as Window. Zero fields are no limit; without a Window they are for as long as the
// Meter lives.
type Limits struct {
	Requests  int64 `json:"requests,omitempty"`
	BytesUp   int64 `json:"bytes_up,omitempty"`   // from the bottle
	BytesDown int64 `json:"bytes_down,omitempty"` // to it
	Window    Span  `json:"window,omitempty"`
}

// MinWindow and MaxWindow bound a window.
const (
	MinWindow = Span(time.Second)
	MaxWindow = Span(366 * 24 * time.Hour)
)

// Check says what is wrong with limits.
func (l *Limits) Check() error {
	switch {
	case l == nil:
		return nil
	case l.Requests < 0 || l.BytesUp < 0 || l.BytesDown < 0:
		return errors.New("they cannot be negative")
	case l.Requests == 0 && l.BytesUp == 0 && l.BytesDown == 0:
		return errors.New("they need one of requests, bytes_up, bytes_down")
	case l.Window != 0 && (l.Window < MinWindow || l.Window > MaxWindow):
		return fmt.Errorf("the window must be between %s and 366 days", MinWindow)
	}
	return nil
}

// String is one line for people.
func (l Limits) String() string {
	var parts []string
	if l.Requests > 0 {
		parts = append(parts, fmt.Sprintf("%d requests", l.Requests))
	}
	if l.BytesUp > 0 {
		parts = append(parts, bytesText(l.BytesUp)+" up")
	}
	if l.BytesDown > 0 {
		parts = append(parts, bytesText(l.BytesDown)+" down")
	}
	text := strings.Join(parts, ", ")
	if l.Window > 0 {
		return text + " in " + l.Window.String()
	}
	return text + " in all"
}

// bytesText uses the largest unit that needs no fraction.
func bytesText(n int64) string {
	units, i := []string{"B", "KiB", "MiB", "GiB", "TiB"}, 0
	for n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return fmt.Sprintf("%d %s", n, units[i])
}
