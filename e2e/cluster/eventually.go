package cluster

import (
	"context"
	"fmt"
	"time"
)

// pollEvery is the pause between two looks at a condition.
const pollEvery = 50 * time.Millisecond

// Eventually calls fn until it returns nil. After the timeout, or when ctx ends, it returns fn's last error with the
// time that was spent.
func Eventually(ctx context.Context, timeout time.Duration, fn func() error) error {
	start := time.Now()
	end := time.NewTimer(timeout)
	defer end.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w after %s: %w", ctx.Err(), time.Since(start).Round(time.Millisecond), err)
		case <-end.C:
			return fmt.Errorf("still failing after %s: %w", time.Since(start).Round(time.Millisecond), err)
		case <-time.After(pollEvery):
		}
	}
}
