package audit

// Uses counts how often grants were used, from the events of a log in their order. A use is
// whatever a service let begin; it counts once, at its end, so that the end of a grant does not
// break its last use off. What never ended, counts as well (Lost). A push of which the upstream
// has nothing is none. Its zero value has counted nothing. It must not be used concurrently.
type Uses struct{ begun, ended map[string]int64 }

// Hear takes the next event, and reports whether a use has ended with it.
func (u *Uses) Hear(e Event) bool {
	switch {
	case e.Grant == "":
		return false
	case e.Phase != "":
		add(&u.begun, e.Grant, 1)
		return false
	case e.Kind == Push && e.Decision == Deny:
		if u.begun[e.Grant] > 0 {
			add(&u.begun, e.Grant, -1)
		}
		return false
	case u.begun[e.Grant] > 0:
		add(&u.begun, e.Grant, -1)
	case e.Decision != Allow && e.Decision != Unknown:
		return false // it never began
	}
	add(&u.ended, e.Grant, 1)
	return true
}

// Lost takes what has begun for ended: who was at it is gone.
func (u *Uses) Lost() {
	for grant, n := range u.begun {
		add(&u.ended, grant, n)
	}
	u.begun = nil
}

// Take returns the uses that have ended since it was last called, by grant.
func (u *Uses) Take() map[string]int64 {
	ended := u.ended
	u.ended = nil
	return ended
}

func add(to *map[string]int64, grant string, n int64) {
	if *to == nil {
		*to = make(map[string]int64)
	}
	if (*to)[grant] += n; (*to)[grant] == 0 {
		delete(*to, grant)
	}
}
