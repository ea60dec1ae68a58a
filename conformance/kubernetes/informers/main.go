// Command informers is what controllers are made of, client-go's shared informers, in a program of its own: it
// keeps the objects of a kind in a namespace by list and watch and says what it hears, a JSON value a line:
//
//	informers <kubeconfig> <namespace> <group> <version> <resource>
//	{"event":"synced"} {"event":"add","name":…,"mark":…} {"event":"update",…} {"event":"delete",…}
//	{"event":"error","message":…}   the list or the watch broke; client-go begins anew by itself
//
// With -forget the first watch begins at a version that the server no longer has: 410, and a new list.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

type line struct {
	Event   string `json:"event"`
	Name    string `json:"name,omitempty"`
	Mark    string `json:"mark,omitempty"`
	Message string `json:"message,omitempty"`
}

var out sync.Mutex

func say(one line) {
	out.Lock()
	defer out.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(one)
}

func main() {
	forget := flag.Bool("forget", false, "begin the first watch at a version that is gone")
	timeout := flag.Int64("timeout", 0, "seconds after which the server ends each watch")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", flag.Arg(0))
	if err != nil {
		fail(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		fail(err)
	}
	kind := schema.GroupVersionResource{
		Group: flag.Arg(2), Version: flag.Arg(3), Resource: flag.Arg(4),
	}
	objects := client.Resource(kind).Namespace(flag.Arg(1))
	var watches, lists atomic.Int64
	source := &cache.ListWatch{
		ListFunc: func(options metav1.ListOptions) (runtime.Object, error) {
			say(line{Event: "list", Mark: number(lists.Add(1))})
			return objects.List(context.Background(), options)
		},
		WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			count := watches.Add(1)
			say(line{Event: "watch", Mark: number(count)})
			if *forget && count == 1 {
				options.ResourceVersion = "1"
			}
			if *timeout > 0 {
				options.TimeoutSeconds = timeout
			}
			events, err := objects.Watch(context.Background(), options)
			if err != nil {
				say(line{Event: "error", Message: err.Error()})
				return nil, err
			}
			// What ends a watch from within is not told to the handler of errors when it is an old version.
			return watch.Filter(events, func(event watch.Event) (watch.Event, bool) {
				if event.Type == watch.Error {
					say(line{Event: "error", Message: apierrors.FromObject(event.Object).Error()})
				}
				return event, true
			}), nil
		},
	}
	informer := cache.NewSharedInformer(source, &unstructured.Unstructured{}, 0)
	if err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		say(line{Event: "error", Message: err.Error()})
	}); err != nil {
		fail(err)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { heard("add", object) },
		UpdateFunc: func(_, object any) { heard("update", object) },
		DeleteFunc: func(object any) { heard("delete", object) },
	}); err != nil {
		fail(err)
	}
	stop := make(chan struct{})
	go informer.Run(stop)
	if !cache.WaitForCacheSync(stop, informer.HasSynced) {
		os.Exit(1)
	}
	say(line{Event: "synced"})
	// Whoever started it ends it, by the end of its standard input.
	_, _ = os.Stdin.Read(make([]byte, 1))
	close(stop)
}

func heard(event string, object any) {
	if gone, isGone := object.(cache.DeletedFinalStateUnknown); isGone {
		object = gone.Obj
	}
	if one, isOne := object.(*unstructured.Unstructured); isOne {
		mark, _, _ := unstructured.NestedString(one.Object, "data", "mark")
		say(line{Event: event, Name: one.GetName(), Mark: mark})
	}
}

func number(value int64) string {
	text, _ := json.Marshal(value)
	return string(text)
}

func fail(err error) {
	say(line{Event: "error", Message: err.Error()})
	os.Exit(1)
}
