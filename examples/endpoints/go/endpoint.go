// Endpoint: jobs over HTTP, in Go with its standard library alone.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
)

const mostBytes = 32 << 20

type object = map[string]any

type call struct {
	Data  object            `json:"program_data"`
	Links map[string]string `json:"links"`
}

var (
	lock    sync.Mutex
	answers = map[string]object{}            // by webhook-id; keep yours in a database, beside the effect
	running = map[string]map[string]string{} // the newest links, by webhook-id
)

// execute runs a job, unless this step was done already or is being worked on.
func execute(job, key string, c call) (int, object) {
	lock.Lock()
	defer lock.Unlock()
	if answer, isDone := answers[key]; isDone {
		return http.StatusOK, answer
	}
	if job == "slow" {
		if running[key] == nil {
			go slow(key, c.Data)
		}
		running[key] = c.Links
		return http.StatusAccepted, object{}
	}
	answer, err := quick(c.Data)
	if err != nil {
		failure := object{"message": err.Error(), "retryable": false}
		return http.StatusUnprocessableEntity, object{"error": failure}
	}
	answers[key] = answer
	return http.StatusOK, answer
}

func main() {
	secret, err := readSecret(os.Getenv("SECRET"))
	if err != nil {
		log.Fatal("SECRET: ", err)
	}
	http.HandleFunc("POST /{job}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBytes))
		status, answer, c := http.StatusUnauthorized, object{"detail": "the signature does not fit"}, call{}
		if err == nil && isOurs(r.Header, body, secret) && json.Unmarshal(body, &c) == nil {
			status, answer = execute(r.PathValue("job"), r.Header.Get("webhook-id"), c)
		}
		w.Header().Set("content-type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(answer)
	})
	log.Fatal(http.ListenAndServe(variable("HOST", "127.0.0.1")+":"+variable("PORT", "9003"), nil))
}

func variable(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
