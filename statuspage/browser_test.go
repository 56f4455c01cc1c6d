//go:build browser

package statuspage

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInABrowser opens the pages in a headless Chromium, with and without the script, light and dark, wide and narrow, and
// keeps what it looks like in $SCREENSHOTS, if that is set.
func TestInABrowser(t *testing.T) {
	browser := chromium(t)
	server := httptest.NewServer(started(t, sample(300), nil))
	defer server.Close()
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		var failures strings.Builder
		cmd := exec.Command(browser, append([]string{"--no-sandbox", "--headless", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir()}, args...)...)
		cmd.Stderr = &failures
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, &failures)
		}
		for line := range strings.Lines(failures.String()) { // what a page violates of its policy, and what fails in its script
			if strings.Contains(line, ":CONSOLE") {
				t.Error(line)
			}
		}
		return string(out)
	}
	dir := t.TempDir()
	if to := os.Getenv("SCREENSHOTS"); to != "" {
		dir = to
	}
	for name, path := range map[string]string{"overview": "/", "services": "/services?q=office&sort=-state", "service": "/services/office/unready", "hostile": "/services/office/hostile", "login": "/login"} {
		t.Run(name, func(t *testing.T) {
			dom := run(t, "--virtual-time-budget=8000", "--dump-dom", server.URL+path)
			if strings.Contains(dom, "<title>harmed") || !strings.Contains(dom, "· Fairlead</title>") {
				t.Errorf("what others wrote was run:\n%s", dom)
			}
			if name != "login" && strings.Contains(dom, `aria-pressed="false" hidden`) {
				t.Error("the script does not run: the button stays hidden")
			}
			for mode, args := range map[string][]string{"light": {"--window-size=1280,1500"}, "dark": {"--window-size=1280,1500", "--blink-settings=preferredColorScheme=0"}, "narrow": {"--window-size=500,1500"}} {
				file := filepath.Join(dir, name+"-"+mode+".png")
				run(t, append(args, "--screenshot="+file, server.URL+path)...)
				if info, err := os.Stat(file); err != nil || info.Size() < 5000 {
					t.Errorf("%s: %v %v", mode, info, err)
				}
			}
		})
	}
}
