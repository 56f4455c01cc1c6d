package controllers

import (
	"context"
	"log/slog"
	"time"
)

// upkeep keeps something written: it writes when it was marked, rests, and writes again what failed.
type upkeep struct {
	dirty chan struct{} // holds a value when there may be something to write
}

func newUpkeep() upkeep { return upkeep{make(chan struct{}, 1)} }

// mark says that there may be something to write. It never blocks.
func (u upkeep) mark() {
	select {
	case u.dirty <- struct{}{}:
	default:
	}
}

// run calls write after each mark until the context ends. Where write says that it is to rest, or fails, nothing is
// written for that long; an error is logged as a warning, once until there is another one or none.
func (u upkeep) run(ctx context.Context, log *slog.Logger, warning string, rest time.Duration, write func(context.Context) (tired bool, err error)) error {
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.dirty:
		}
		tired, err := write(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			log.Warn(warning+", trying again", "error", err)
		}
		if !tired && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest):
		}
		if err != nil {
			u.mark()
		}
	}
}
