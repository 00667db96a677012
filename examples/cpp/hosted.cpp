// An order desk behind its own URL in C++17, without a server of its own: the library listens. Ctrl-C or SIGTERM ends it.
#include <csignal>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "svantic.hpp"

int main() try {
    sigset_t signals;
    sigemptyset(&signals), sigaddset(&signals, SIGINT), sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, nullptr);

    // SVANTIC_URL, SVANTIC_CLIENT_ID, SVANTIC_CLIENT_SECRET, and SVANTIC_DISPATCH_SECRET, which proves who calls. A program
    // with a server of its own leaves "listen" out, says its "public_url", and hands requests to desk.serve().
    svantic::MeshConnector desk(R"({"name": "order-desk", "description": "Knows every order", "listen": "127.0.0.1:0"})");
    desk.define_capability(
        R"({"name": "find_order", "description": "Says where an order is"})", [](std::string_view request) -> std::string {
            if (request.find("\"A17\"") == request.npos) throw std::runtime_error("no such order");
            return R"({"order_id": "A17", "state": "shipped"})";
        });
    desk.connect();
    int number = 0;
    sigwait(&signals, &number);
    desk.disconnect();
} catch (const svantic::Error &error) {
    std::cerr << "order-desk: " << error.what() << std::endl;
    return 1;
}
