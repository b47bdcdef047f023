package sim

const (
	renewal  = "renewal.go"
	schedule = "schedule.go"
	session  = "session.go"
	loop     = "refresher.go"
	guard    = "internal/flight/right.go"
	flights  = "internal/flight/flight.go"
	records  = "internal/record/record.go"
	stores   = "internal/sim/store.go"
)

// table is what is known to be found, and where.
func table() []mutation {
	return []mutation{
		// The right to send.
		{"no lease", 1, []edit{{renewal,
			"	if r.held != nil || leaser == nil ||", "	if leaser != nil || leaser == nil ||"}}},
		{"no load under the lease", 19, []edit{{renewal,
			"	err := r.read()\n	s := r", "	var err error\n	s := r"}}},
		{"guard off", 1, []edit{{flights,
			"f.stopEarly(f.plan.Right.stale())", "f.stopEarly(false)"}}},
		{"guard on the monotonic clock alone", 1, []edit{{guard,
			" || now.Round(0).Sub(r.confirmed.Round(0)) > limit", ""}}},
		{"a lease counts as fresh when it is got", 2, []edit{
			{guard, "lasting: ok && lasting.Lasting(), clock: c}", "lasting: ok && lasting.Lasting(), clock: c, confirmed: c.Now()}"},
			{renewal, "	if err == nil && !r.held.Lasting() {\n		err = flight.Within(r.ctx, r.clock, stepTimeout, r.held.Extend)\n	}\n", ""}}},
		{"no heartbeat", 1, []edit{{flights,
			"			_ = Within(ctx, c, right.Beat(), right.Extend)\n", ""}}},

		// The note.
		{"no note", 1, []edit{{renewal,
			"return r.session.swap(ctx, s, noted) })", "return nil })"}}},
		{"somebody else's note is ignored", 19, []edit{{renewal,
			"return s.Note.Open() && s.Note.Owner != r.owner()", "return false"}}},
		{"the age of a note from a look of before a freeze", 44, []edit{{session,
			"	s.looked = asked\n", "	s.looked = latest(asked, wall(s.clock))\n"}}},
		{"sending without the store", 3, []edit{{renewal,
			"	if r.session.served.Load().alive(wall(r.clock)) || !r.session.known.Load().exists() {\n		return false", "	if r.ctx.Err() == nil {\n		return true"}}},

		// The exchange.
		{"an attempt of 5 s", 1, []edit{{schedule,
			"	return min(max(l.lastCall(now).Sub(now), time.Minute), 3*time.Minute)", "	return 5 * time.Second"}}},
		{"a prompt retry after silence", 3, []edit{{schedule,
			"	case f.sent == 1 && !f.silent:", "	case f.sent == 1:"}}},
		{"a 401 shortens no wait", 295, []edit{{loop,
			"	if cause == causeRefused {\n		return h.until.Add(-h.early)", "	if cause == \"\" {\n		return h.until.Add(-h.early)"}}},
		{"prompt retries without end", 81, []edit{{schedule,
			"	case f.sent == 1 && !f.silent:", "	case !f.silent:"}}},
		{"Close cancels what is sent", 8, []edit{{flights,
			"	f.landing = true\n", "	f.landing = true\n	f.cancel(ErrClosing)\n"}}},
		{"a deadline that was slept over counts", 1, []edit{{flights,
			"		rest = max(rest, overslept)\n", ""}}},
		{"a proxy's answer counts as the issuer's", 3, []edit{{"internal/exchange/classify.go",
			"s == http.StatusForbidden, HTML(a):\n		e.Outcome = evertoken.Unavailable", "s == http.StatusForbidden, HTML(a):\n		e.Outcome = evertoken.Rejected"}}},

		// What is kept.
		{"compare-and-swap off", 1, []edit{{stores,
			"		if before.Version != prev {", "		if prev == \"none\" {"}}},
		{"versions are used again", 1, []edit{{stores,
			"		saved = version(v.s.last)\n", "		saved = version(v.s.last % 3)\n"}}},
		{"a pair that cannot be saved is dropped", 4, []edit{{session,
			"	return s.flush(ctx)\n",
			"	err := s.flush(ctx)\n	if err != nil {\n		s.known.Store(from)\n		s.saved.Store(true)\n	}\n	return err\n"}}},
		{"whatever is stored is adopted", 1, []edit{{session,
			"	case known.before().replaces == r.SID || known.SID == r.SID && !r.Newer(known.Record):", "	case known.before().replaces == \"never\":"}}},
		{"order by expiry", 1, []edit{{records,
			"	if r.Gen != o.Gen {\n		return r.Gen > o.Gen\n	}\n	return r.Att > o.Att", "	return r.Tokens.Expiry.After(o.Tokens.Expiry)"}}},
		{"published before it is saved", 4, []edit{{session,
			"	s.saved.Store(false)\n	return s.flush(ctx)\n", "	s.serve(n)\n	s.saved.Store(false)\n	return s.flush(ctx)\n"}}},
		{"an unreadable store is deleted", 1, []edit{{session,
			"	case err != nil:\n		return err\n	}\n	s.looked", "	case err != nil:\n		s.vanish()\n		return s.store.Delete(ctx, s.key, \"\")\n	}\n	s.looked"}}},
		{"an unreadable store means signed out", 1, []edit{{session,
			"	case err != nil:\n		return err\n	}\n	s.looked", "	case err != nil:\n		s.vanish()\n		return nil\n	}\n	s.looked"}}},

		// Whose session it is.
		{"another session is condemned", 46, []edit{{renewal,
			"return r.session.swap(ctx, s, s.with(s.Ended())) })", "k := r.session.known.Load(); return r.session.swap(ctx, k, k.with(k.Ended())) })"}}},
		{"SignOut does not keep Login away", 12, []edit{
			{"client.go", "	c.loop.leftOut.Store(true) // even if ctx ends before our turn\n", ""},
			{"client.go", "		c.loop.leftOut.Store(true)\n", ""}}},
		{"somebody else's sign-out does not keep Login away", 85, []edit{{loop,
			"			r.leftOut.Store(true)\n", ""}}},
		{"SignIn and SignOut leave what is under way alone", 18, []edit{{session,
			"	if k := s.known.Load(); k != from && (!k.exists() || k.SID != from.SID) {\n		return nil\n	}\n", ""}}},

		// Pace and service.
		{"an adopted token is renewed at once", 17, []edit{{loop,
			"check && !r.brought && r.renewable(s)", "check && r.renewable(s)"}}},
		{"no backoff", 67, []edit{{schedule,
			"	return time.Duration((1 - random) * ceiling)", "	return time.Duration((1 - random) * ceiling / 1000)"}}},
		{"renewed at ticks only", 62, []edit{{schedule,
			"	if l.expiry.IsZero() || tick.Before(l.dead) {", "	if l.expiry.IsZero() || tick.After(time.Time{}) {"}}},
		{"renewed long before it is due", 2, []edit{{schedule,
			"	return l.expiry.Add(-s.windowOf(l) + 1)\n", "	return l.expiry.Add(-3*s.windowOf(l) + 1)\n"}}},
		{"expired tokens are used", 1, []edit{{session,
			"s.Tokens.AccessToken != \"\" && !s.life.isDead(now)", "s.Tokens.AccessToken != \"\""}}},
		{"a token for everybody", 1, []edit{{"transport.go",
			"		if o.Matches(u) {", "		if o.Matches(u) || u.Host != \"\" {"}}},
		{"a secret in an error", 1, []edit{{renewal,
			"	known, err := judged(cause, err)\n	f := failure{", "	known, err := judged(cause, fmt.Errorf(\"%s: %w\", s.Tokens.RefreshToken, err))\n	f := failure{"}}},
	}
}
