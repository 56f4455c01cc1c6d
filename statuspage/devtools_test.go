//go:build browser

package statuspage

// This file holds a tab of a headless Chromium that a test drives, by the DevTools protocol over two pipes
// (--remote-debugging-pipe: JSON messages that end with a zero byte).

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tab is a page of a browser. It is for one goroutine.
type tab struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	last    int
	session string
	faults  []string // what the page complained of: exceptions, and violations of its policy
}

// message is a request, its answer, or an event.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

type object map[string]any

// newTab starts a browser with one page. It ends with the test, which fails if the page complained of anything.
func newTab(t *testing.T) *tab {
	t.Helper()
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, mine, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(chromium(t), "--no-sandbox", "--headless", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", "--window-size=1280,1500", "--user-data-dir="+t.TempDir())
	cmd.ExtraFiles = []*os.File{theirs, mine} // its descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirs.Close(), mine.Close()
	x := &tab{t: t, to: to, from: bufio.NewReader(from)}
	hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // then reading ends
	t.Cleanup(func() {
		hung.Stop()
		_ = to.Close() // it ends with its pipe
		_ = cmd.Wait()
		_ = from.Close()
		for _, fault := range x.faults {
			t.Error(fault)
		}
	})
	var target struct{ TargetID string }
	x.call("Target.createTarget", object{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	x.call("Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &attached)
	x.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Accessibility"} {
		x.call(domain+".enable", nil, nil)
	}
	return x
}

// chromium is the browser.
func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium-headless-shell")
	if err != nil {
		t.Fatal("this test needs a browser: apt-get install chromium-headless-shell")
	}
	return path
}

// call does one thing and waits for its result.
func (x *tab) call(method string, params object, result any) {
	x.t.Helper()
	x.last++
	m := message{ID: x.last, SessionID: x.session, Method: method}
	if params != nil {
		data, err := json.Marshal(params)
		if err != nil {
			x.t.Fatal(err)
		}
		m.Params = data
	}
	data, err := json.Marshal(m)
	if err == nil {
		_, err = x.to.Write(append(data, 0))
	}
	if err != nil {
		x.t.Fatal(method, err)
	}
	for {
		text, err := x.from.ReadBytes(0)
		if err != nil {
			x.t.Fatalf("%s: the browser is gone: %v", method, err)
		}
		var got message
		if err := json.Unmarshal(text[:len(text)-1], &got); err != nil {
			x.t.Fatal(err)
		}
		switch {
		case got.Method == "Runtime.exceptionThrown" || got.Method == "Log.entryAdded":
			x.faults = append(x.faults, string(got.Params))
		case got.ID != m.ID:
		case got.Error != nil:
			x.t.Fatalf("%s: %s", method, got.Error.Message)
		default:
			if result != nil {
				if err := json.Unmarshal(got.Result, result); err != nil {
					x.t.Fatal(err)
				}
			}
			return
		}
	}
}

// eval returns what an expression of the page's script comes to, as text.
func (x *tab) eval(expression string) string {
	x.t.Helper()
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Text string }
	}
	x.call("Runtime.evaluate", object{"expression": expression, "returnByValue": true, "awaitPromise": true}, &out)
	if out.ExceptionDetails != nil {
		x.t.Fatalf("%s: %s", expression, out.ExceptionDetails.Text)
	}
	return fmt.Sprint(out.Result.Value)
}

// await waits until an expression is true.
func (x *tab) await(what, expression string) {
	x.t.Helper()
	for begin := time.Now(); x.eval(expression) != "true"; time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			x.t.Fatalf("%s does not come true: %s; the page is\n%s", what, expression, x.eval("document.body.innerText"))
		}
	}
}

// open goes to a page and waits until it is there.
func (x *tab) open(url string) {
	x.t.Helper()
	x.call("Page.navigate", object{"url": url}, nil)
	x.await(url, fmt.Sprintf("location.href === %q && document.readyState === 'complete'", url))
}

// press presses one key, as somebody at a keyboard does.
func (x *tab) press(key string) {
	x.t.Helper()
	code := map[string]int{"Tab": 9, "Enter": 13, " ": 32}[key]
	text := map[string]string{"Enter": "\r", " ": " "}[key]
	x.call("Input.dispatchKeyEvent", object{"type": "keyDown", "key": key, "code": map[string]string{" ": "Space"}[key], "text": text, "windowsVirtualKeyCode": code}, nil)
	x.call("Input.dispatchKeyEvent", object{"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}, nil)
}

// write writes where the focus is.
func (x *tab) write(text string) {
	x.t.Helper()
	x.call("Input.insertText", object{"text": text}, nil)
}

// tabTo presses the tabulator key until what has the focus matches a selector.
func (x *tab) tabTo(selector string) {
	x.t.Helper()
	for range 200 {
		x.press("Tab")
		if x.eval(fmt.Sprintf("document.activeElement.matches(%q)", selector)) == "true" {
			return
		}
	}
	x.t.Fatalf("the keyboard does not lead to %s", selector)
}

// picture keeps what the page looks like in $SCREENSHOTS, if that is set.
func (x *tab) picture(name string) {
	x.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		x.call("Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
		var shot struct{ Data string }
		x.call("Page.captureScreenshot", nil, &shot)
		data, err := base64.StdEncoding.DecodeString(shot.Data)
		if err != nil || len(data) < 5000 {
			x.t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
		if dir := os.Getenv("SCREENSHOTS"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, name+"-"+scheme+".png"), data, 0o644); err != nil {
				x.t.Error(err)
			}
		}
	}
	x.call("Emulation.setEmulatedMedia", object{"features": []object{}}, nil)
}

// nameless returns the roles of what can be used on the page, or tells something, and has no name for a screen reader.
func (x *tab) nameless() (roles []string) {
	x.t.Helper()
	type value struct{ Value any }
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name value
		}
	}
	x.call("Accessibility.getFullAXTree", nil, &tree)
	seen := 0
	for _, n := range tree.Nodes {
		role, name := fmt.Sprint(n.Role.Value), strings.TrimSpace(fmt.Sprint(n.Name.Value))
		if n.Ignored || !strings.Contains(" link button textbox searchbox combobox checkbox image heading columnheader navigation ", " "+role+" ") {
			continue
		}
		seen++
		if name == "" || name == "<nil>" {
			roles = append(roles, role)
		}
	}
	if seen < 5 {
		x.t.Errorf("a screen reader finds only %d things", seen)
	}
	return roles
}
