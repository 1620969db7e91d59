// The chat server that a Go programmer would write: a goroutine for each member, and a map of them under a lock.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
)

var (
	lock    sync.Mutex
	members = map[string]net.Conn{}
	// Does not say who comes and goes: with thousands of members that is most of what it would ever write.
	quiet = os.Getenv("CHAT_QUIET") != ""
)

func announce(name string, what string) {
	if !quiet {
		tell(name, "* "+name+" "+what+"\n")
	}
}

func tell(but string, line string) {
	bytes := []byte(line)
	lock.Lock()
	defer lock.Unlock()
	for name, connection := range members {
		if name != but {
			connection.Write(bytes)
		}
	}
}

func serve(connection net.Conn) {
	defer connection.Close()
	lines := bufio.NewScanner(connection)
	name := ""
	for name == "" {
		fmt.Fprint(connection, "Enter username: ")
		if !lines.Scan() {
			return
		}
		wanted := strings.TrimSpace(lines.Text())
		lock.Lock()
		if _, taken := members[wanted]; !taken && wanted != "" {
			name = wanted
			members[name] = connection
		}
		lock.Unlock()
	}
	announce(name, "joined")
	fmt.Fprint(connection, "* You are in lobby.\n")
	for lines.Scan() {
		tell(name, "["+name+"] "+lines.Text()+"\n")
	}
	lock.Lock()
	delete(members, name)
	lock.Unlock()
	announce(name, "left")
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "listen:", err)
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	fmt.Printf("listening chat tcp://%s\n", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "accept:", err)
			os.Exit(1)
		}
		go serve(connection)
	}
}
