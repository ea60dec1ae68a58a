// PostgreSQL's JDBC driver, unmodified. Runs one case against the server the environment names and prints
// what came out, a line a fact. Without a case it prints the driver's version and the cases' names.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class JdbcCases {
  interface Case { void run(List<Object> out) throws Exception; }

  static final Map<String, Case> CASES = new LinkedHashMap<>();

  static Connection open(String... more) throws SQLException {
    Properties p = new Properties();
    p.put("user", System.getenv("PGUSER"));
    p.put("password", System.getenv("PGPASSWORD"));
    p.put("sslmode", "verify-ca");
    p.put("sslrootcert", System.getenv("PGSSLROOTCERT"));
    for (int i = 0; i < more.length; i += 2) p.put(more[i], more[i + 1]);
    String url = "jdbc:postgresql://" + System.getenv("PGHOSTADDR") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
    return DriverManager.getConnection(url, p);
  }

  static void rows(List<Object> out, ResultSet r) throws SQLException {
    int columns = r.getMetaData().getColumnCount();
    while (r.next()) {
      StringBuilder row = new StringBuilder();
      for (int i = 1; i <= columns; i++) {
        boolean isBytes = r.getMetaData().getColumnType(i) == Types.BINARY;
        row.append(i == 1 ? "" : "|").append(isBytes ? Arrays.toString(r.getBytes(i)) : r.getString(i));
      }
      out.add(row.toString());
    }
  }

  static void failing(List<Object> out, Case work) throws Exception {
    try { work.run(out); out.add("it did not fail"); }
    catch (SQLException e) {
      SQLException last = e;
      while (last.getNextException() != null) last = last.getNextException();
      out.add("failed " + last.getSQLState());
    }
  }

  static {
    CASES.put("prepared statements, named on the server after five", out -> {
      try (Connection c = open(); PreparedStatement s = c.prepareStatement("select name, price from items where id = ?")) {
        for (int id = 1; id <= 12; id++) { s.setInt(1, id); rows(out, s.executeQuery()); }
        out.add(((org.postgresql.PGStatement) s).isUseServerPrepare());
      }
    });
    CASES.put("types, in text and binary", out -> {
      try (Connection c = open("prepareThreshold", "1"); PreparedStatement s = c.prepareStatement("select id, name, price, made at time zone 'UTC', tags, doc, raw from items where id between ? and ? order by id")) {
        for (int round = 0; round < 3; round++) { s.setInt(1, 1); s.setInt(2, 2); rows(out, s.executeQuery()); }
        ResultSetMetaData m = s.getMetaData();
        for (int i = 1; i <= m.getColumnCount(); i++) out.add(m.getColumnName(i) + " " + m.getColumnTypeName(i) + " " + m.isNullable(i));
      }
    });
    CASES.put("transactions, savepoints and the aborted state", out -> {
      try (Connection c = open(); Statement s = c.createStatement()) {
        c.setAutoCommit(false);
        s.executeUpdate("insert into ledger values (900, 1)");
        Savepoint p = c.setSavepoint();
        failing(out, o -> s.executeUpdate("insert into ledger values (900, 2)"));
        failing(out, o -> s.executeQuery("select 1"));
        c.rollback(p);
        rows(out, s.executeQuery("select amount from ledger where id = 900"));
        c.rollback();
        rows(out, s.executeQuery("select count(*) from ledger where id = 900"));
      }
    });
    CASES.put("a batch is a pipeline; one that fails leaves nothing", out -> {
      try (Connection c = open(); PreparedStatement s = c.prepareStatement("insert into ledger values (?, ?)")) {
        c.setAutoCommit(false);
        for (int i = 0; i < 300; i++) { s.setInt(1, 1000 + i); s.setInt(2, i); s.addBatch(); }
        out.add(Arrays.stream(s.executeBatch()).sum());
        c.rollback();
        for (int id : new int[] {910, 911, 910}) { s.setInt(1, id); s.setInt(2, 1); s.addBatch(); }
        failing(out, o -> s.executeBatch());
        c.rollback();
        try (Statement q = c.createStatement()) { rows(out, q.executeQuery("select count(*) from ledger where id >= 900")); }
      }
    });
    CASES.put("a result in parts, by a portal", out -> {
      try (Connection c = open()) {
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
          s.setFetchSize(100);
          ResultSet r = s.executeQuery("select id from many order by id limit 1050");
          long sum = 0; int count = 0;
          while (r.next()) { sum += r.getLong(1); count++; }
          out.add(count + " " + sum);
          s.setMaxRows(3);
          rows(out, s.executeQuery("select id from many order by id"));
        }
        c.commit();
      }
    });
    CASES.put("COPY in and out", out -> {
      try (Connection c = open()) {
        c.setAutoCommit(false);
        CopyManager copy = ((PGConnection) c).getCopyAPI();
        out.add(copy.copyIn("copy ledger from stdin", new StringReader("920\t1\n921\t2\n")));
        StringWriter w = new StringWriter();
        out.add(copy.copyOut("copy (select id, amount from ledger where id >= 920 order by id) to stdout", w));
        out.add(w.toString());
        failing(out, o -> copy.copyIn("copy ledger from stdin", new StringReader("no number\t1\n")));
        c.rollback();
      }
    });
    CASES.put("cancel and a time-out of the driver's", out -> {
      try (Connection c = open(); Statement s = c.createStatement()) {
        new Thread(() -> { try { Thread.sleep(400); s.cancel(); } catch (Exception e) { throw new RuntimeException(e); } }).start();
        failing(out, o -> s.executeQuery("select pg_sleep(30)"));
        s.setQueryTimeout(1);
        failing(out, o -> s.executeQuery("select pg_sleep(30)"));
        s.setQueryTimeout(0);
        rows(out, s.executeQuery("select 1"));
      }
    });
    CASES.put("a denied statement in the middle", out -> {
      try (Connection c = open(); Statement s = c.createStatement()) {
        failing(out, o -> s.executeQuery("select * from forbidden"));
        rows(out, s.executeQuery("select 2"));
        c.setAutoCommit(false);
        s.executeUpdate("insert into ledger values (930, 1)");
        failing(out, o -> { try (PreparedStatement p = c.prepareStatement("select * from forbidden where id = ?")) { p.setInt(1, 1); p.executeQuery(); } });
        failing(out, o -> s.executeQuery("select 3"));
        c.rollback();
        rows(out, s.executeQuery("select count(*) from ledger where id = 930"));
      }
    });
    CASES.put("metadata", out -> {
      try (Connection c = open()) {
        DatabaseMetaData m = c.getMetaData();
        ResultSet r = m.getColumns(null, "public", "items", "%");
        while (r.next()) out.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME") + " " + r.getString("NULLABLE"));
        r = m.getPrimaryKeys(null, "public", "items");
        while (r.next()) out.add(r.getString("COLUMN_NAME"));
        out.add(c.isValid(3));
      }
    });
  }

  public static void main(String[] args) throws Exception {
    if (args.length == 0) {
      System.out.println(org.postgresql.util.DriverInfo.DRIVER_VERSION);
      CASES.keySet().forEach(System.out::println);
      return;
    }
    List<Object> out = new ArrayList<>();
    CASES.get(args[0]).run(out);
    out.forEach(System.out::println);
  }
}
