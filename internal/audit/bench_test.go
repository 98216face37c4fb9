package audit

import (
	"testing"
	"time"
)

// BenchmarkRecord is what the parent does for each event of a service.
func BenchmarkRecord(b *testing.B) {
	line, err := encode(Event{Time: time.Now(), Bottle: bottle, Service: "egress", Kind: Request, Decision: Allow, Protocol: "https", Host: "api.example", Port: 443, Method: "GET", Path: "/v1/messages", Rule: new(int), Secret: "KEY", Address: "192.0.2.1:443", Status: 200, BytesIn: 12345, Millis: 12.5})
	if err != nil {
		b.Fatal(err)
	}
	chain := Continue(Head{})
	b.ReportAllocs()
	for b.Loop() {
		e, err := Decode(line)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := chain.Line(e); err != nil {
			b.Fatal(err)
		}
	}
}
