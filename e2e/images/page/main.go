// Command page serves a page on port 80: one line, with the pod's name and the client's address. After SIGTERM it answers
// for a while, as a server that is drained does.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	name, err := os.Hostname()
	if err != nil {
		panic(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		time.Sleep(3 * time.Second)
		os.Exit(0)
	}()
	panic(http.ListenAndServe(":80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr) // the server itself wrote it
		fmt.Fprintf(w, "%s %s\n", name, client)
	})))
}
